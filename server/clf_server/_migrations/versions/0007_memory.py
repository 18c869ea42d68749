"""People of whom results spoke, sealed, to be compared with later ones."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make the tables. What was released before is not known."""
    op.create_table(
        "memory",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("table_name", sa.String(64), nullable=False, index=True),
        sa.Column("run", sa.String(32), nullable=False),
        sa.Column("job", sa.String(64), nullable=False),
        sa.Column("servers", sa.JSON, nullable=False),
        sa.Column("basis", sa.String(64), nullable=False),
        sa.Column("entity", sa.Text),
        sa.Column("people", sa.JSON, nullable=False),
        sa.Column("salt", sa.String(32), nullable=False),
        sa.Column("digest", sa.String(64)),
        sa.Column("sealed", sa.LargeBinary),
        sa.Column("close", sa.JSON, nullable=False),
        sa.Column("shape", sa.JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "remembered_runs",
        sa.Column("run", sa.String(32), primary_key=True),
        sa.Column("input", sa.String(64), primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("review", sa.Boolean, nullable=False),
    )
