"""Signatures of access tokens."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column; `clf_server._upgrade` signs, because that needs the server's identity."""
    op.add_column("tokens", sa.Column("signature", sa.Text))
