"""Identities that a server has or had."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the table. It stays empty until the identity is changed for the first time."""
    op.create_table(
        "server_identities",
        sa.Column("server", sa.String(64), primary_key=True),
        sa.Column("file", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("succession", sa.JSON(none_as_null=True)),
        sa.Column("ends_at", sa.BigInteger),
    )
