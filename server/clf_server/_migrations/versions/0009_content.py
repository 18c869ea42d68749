"""Versions say, under a key of their own, what they hold."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the column. What was shared before is shared anew once more, whatever it holds."""
    op.add_column("versions", sa.Column("content", sa.String(64)))
