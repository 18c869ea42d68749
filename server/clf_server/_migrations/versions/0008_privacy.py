"""What results with noise have cost of tables' privacy budgets."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Make the table. Before it nothing was given out with noise."""
    op.create_table(
        "privacy_charges",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("table_name", sa.String(64), nullable=False, index=True),
        sa.Column("run", sa.String(32), nullable=False),
        sa.Column("job", sa.String(64), nullable=False),
        sa.Column("epsilon_millionths", sa.BigInteger, nullable=False),
        sa.Column("charged_at", sa.BigInteger, nullable=False),
    )
