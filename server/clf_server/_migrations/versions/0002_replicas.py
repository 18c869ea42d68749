"""What replicas share: nonces, tickets, and uploads and results that arrive."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the tables. A server that is one process keeps all this in memory."""
    op.create_table(
        "nonces",
        sa.Column("nonce", sa.String(64), primary_key=True),
        sa.Column("born_at", sa.Double, nullable=False, index=True),
    )
    op.create_table(
        "tickets",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("dies_at", sa.Double, nullable=False, index=True),
        sa.Column("ticket", sa.JSON, nullable=False),
    )
    op.create_table(
        "ticket_versions",
        sa.Column(
            "key",
            sa.String(64),
            sa.ForeignKey("tickets.key", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("version_id", sa.String(32), primary_key=True, index=True),
    )
    op.create_table(
        "uploads",
        sa.Column("upload", sa.String(32), primary_key=True),
        sa.Column("table_name", sa.String(64), nullable=False),
        sa.Column("policy", sa.Text, nullable=False),
        sa.Column("before_version", sa.String(32)),
        sa.Column("before_tag", sa.String(64)),
        sa.Column("version_id", sa.String(32), nullable=False, unique=True),
        sa.Column("table_key", sa.Text, nullable=False),
        sa.Column("ticket_hash", sa.String(64), nullable=False),
        sa.Column("touched_at", sa.Double, nullable=False),
    )
    op.create_table(
        "upload_objects",
        sa.Column(
            "upload",
            sa.String(32),
            sa.ForeignKey("uploads.upload", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("name", sa.String(16), primary_key=True),
        sa.Column("bytes", sa.BigInteger),
    )
    op.create_table(
        "staged_results",
        sa.Column("version_id", sa.String(32), primary_key=True),
        sa.Column("run", sa.String(32), nullable=False),
        sa.Column("output", sa.String(64), nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("dies_at", sa.Double, nullable=False),
    )
