"""Keys of derived versions are bound to what these were derived from, and how."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Forget those whose keys are not: they are made again when a session needs them.

    Their ciphertext is swept when a server starts.
    """
    op.execute("DELETE FROM versions WHERE derived_from IS NOT NULL")
