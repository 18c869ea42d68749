"""Privacy budgets of tables: what was spent, and taking what a run costs (docs/protocol.md §8.5).

What is spent belongs to the name of a table, whatever version it has, and is never given back.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from clf_sdk.errors import PolicyRefused
from clf_sdk.operations import in_words
from clf_server._database import SCHEMA

_charges = sa.Table(
    "privacy_charges",
    SCHEMA,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("table_name", sa.String(64), nullable=False, index=True),
    sa.Column("run", sa.String(32), nullable=False),
    sa.Column("job", sa.String(64), nullable=False),
    sa.Column("epsilon_millionths", sa.BigInteger, nullable=False),
    sa.Column("charged_at", sa.BigInteger, nullable=False),
)
_LAST = sa.select(sa.func.coalesce(sa.func.max(_charges.c.number), 0))
_SPENT = sa.select(sa.func.coalesce(sa.func.sum(_charges.c.epsilon_millionths), 0)).where(
    _charges.c.table_name == sa.bindparam("table")
)


@dataclass(frozen=True)
class Charge:
    """What a run takes from the budget of one table; numbers are millionths of epsilon.

    Attributes
    ----------
    table
        Its name.
    cost
        What the run takes.
    total
        What all runs may take together.
    """

    table: str
    cost: int
    total: int


def find_spent(connection: sa.Connection, table: str) -> int:
    """Return what was taken from the budget of a table, in millionths of epsilon."""
    return int(connection.execute(_SPENT, {"table": table}).scalar_one())


def take_charge(
    connection: sa.Connection, charge: Charge, *, run: str, job: str, now: int
) -> dict[str, str | int]:
    """Take what a run costs from the budget of a table.

    Parameters
    ----------
    connection
        Transaction in which the run is counted; nobody else writes until it ends.
    charge
        What is taken.
    run, job
        Of which run.
    now
        Unix seconds.

    Returns
    -------
    dict
        What the audit log says of it.

    Raises
    ------
    PolicyRefused
        Less than that is left.
    """
    spent = find_spent(connection, charge.table)
    left = max(0, charge.total - spent)
    if charge.cost > left:
        raise PolicyRefused(
            f"table {charge.table!r}: the table's privacy budget does not suffice",
            rule="privacy_budget",
            reason=f"privacy_budget: the job spends {in_words(charge.cost)} each time that it "
            f"runs, and {in_words(left)} of {in_words(charge.total)} is left",
            hint="ask the owner, who sees the reason in full",
        )
    connection.execute(
        sa.insert(_charges).values(
            number=int(connection.execute(_LAST).scalar_one()) + 1,
            table_name=charge.table,
            run=run,
            job=job,
            epsilon_millionths=charge.cost,
            charged_at=now,
        )
    )
    return {
        "table": charge.table,
        "run": run,
        "job": job,
        "epsilon_millionths": charge.cost,
        "spent_millionths": spent + charge.cost,
        "budget_millionths": charge.total,
    }
