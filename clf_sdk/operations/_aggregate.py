"""Parameters of ``aggregate`` (docs/operations.md)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import StringConstraints, model_validator

from clf_sdk.operations._parameters import Parameters


class Aggregate(Parameters):
    """Counts, sums and means in groups, by SQL.

    Parameters
    ----------
    sql
        One ``SELECT`` from ``data``, the aligned and prepared table, such as ``SELECT region,
        count(*) AS n, avg(cost) AS mean_cost FROM data WHERE age >= 18 GROUP BY region``. It has
        ``count(*)``, ``count``, ``count(DISTINCT …)``, ``sum``, ``avg``, ``stddev`` and
        ``variance`` of expressions, beside the expressions that it groups by; ``WHERE``; and
        nothing else.

    Raises
    ------
    InvalidJob
        The query has something else.
    """

    operation: ClassVar[str] = "aggregate"
    reveals: ClassVar[str] = (
        "the table that the query makes, without groups smaller than owners allow, and without "
        "those from which a small one could be computed back"
    )

    sql: Annotated[str, StringConstraints(min_length=1, max_length=4000)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        from clf_sdk.errors import InvalidExpression  # noqa: PLC0415 - sqlglot only for queries
        from clf_sdk.expressions import GroupQuery  # noqa: PLC0415 - the same

        try:
            GroupQuery.parse(self.sql)
        except InvalidExpression as error:
            hint = f" ({error.hint})" if error.hint else ""
            raise ValueError(f"{error.message}{hint}") from None
        return self
