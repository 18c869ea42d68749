"""The first tables: what a server with one process needs."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "versions",
        sa.Column("version_id", sa.String(32), primary_key=True),
        sa.Column("table_name", sa.String(64), nullable=False, index=True),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("table_key", sa.Text, nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("row_groups", sa.Integer, nullable=False),
        sa.Column("manifest_bytes", sa.BigInteger, nullable=False),
        sa.Column("sealed_bytes", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("derived_from", sa.String(32)),
        sa.Column("derivation", sa.String(64)),
        sa.UniqueConstraint("derived_from", "derivation"),
    )
    op.create_table(
        "tables",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("policy", sa.Text, nullable=False),
        sa.Column("policy_tag", sa.String(64), nullable=False),
        sa.Column(
            "version_id", sa.String(32), sa.ForeignKey("versions.version_id"), nullable=False
        ),
    )
    op.create_table(
        "results",
        sa.Column("run", sa.String(32), primary_key=True),
        sa.Column("output", sa.String(64), primary_key=True),
        sa.Column("version_id", sa.String(32), nullable=False, unique=True),
        sa.Column("job", sa.String(64), nullable=False, index=True),
        sa.Column("envelope", sa.JSON, nullable=False),
        sa.Column("signature", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("release", sa.String(16), nullable=False),
        sa.Column("share", sa.JSON(none_as_null=True)),
        sa.Column("decided_at", sa.BigInteger),
        sa.Column("reason", sa.Text),
    )
    op.create_table(
        "receipts",
        sa.Column("run", sa.String(32), primary_key=True),
        sa.Column("receipt", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "jobs",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("document", sa.LargeBinary, nullable=False),
        sa.Column("signature", sa.LargeBinary, nullable=False),
        sa.Column("analyst", sa.String(64), nullable=False, index=True),
        sa.Column("name", sa.String(64), nullable=False, index=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("submitted_at", sa.BigInteger, nullable=False),
        sa.Column("decided_at", sa.BigInteger),
        sa.Column("decided_by", sa.Text),
        sa.Column("automatic", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("runs", sa.Integer, nullable=False),
        sa.Column("runs_used", sa.Integer, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False, unique=True),
    )
    op.create_table(
        "runs",
        sa.Column("run", sa.String(32), primary_key=True),
        sa.Column("job", sa.String(64), sa.ForeignKey("jobs.digest"), nullable=False, index=True),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("enclave", sa.LargeBinary(32), nullable=False),
        sa.Column("resumptions", sa.Integer, nullable=False),
        sa.Column("versions", sa.JSON, nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(12), primary_key=True),
        sa.Column("token_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("label", sa.String(64), nullable=False),
        sa.Column("analyst", sa.String(64), index=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("revoked_at", sa.BigInteger),
    )
    op.create_table(
        "analysts",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("label", sa.String(64), nullable=False, unique=True),
        sa.Column("identity", sa.JSON, nullable=False),
        sa.Column("added_at", sa.BigInteger, nullable=False),
    )
    op.create_table("pause", sa.Column("paused_at", sa.BigInteger, nullable=False))
    op.create_table(
        "audit_entries",
        sa.Column("index", _BIG, primary_key=True, autoincrement=False),
        sa.Column("entry", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "audit_nodes",
        sa.Column("position", _BIG, primary_key=True, autoincrement=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
    )
    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("note", sa.Text, nullable=False),
    )
