"""What a job asks of a table, as its owner remembers it: columns, filters, group keys."""

from __future__ import annotations

from dataclasses import dataclass

from clf_sdk.errors import ClfError
from clf_sdk.protocol import FilterStep, JobDocument, JobInput


@dataclass(frozen=True)
class Shape:
    """The shape of a release.

    Attributes
    ----------
    operation
        Name of the operation.
    columns
        Columns that the job asks for; None is all.
    filters
        Conditions on the rows: of the policy, of the preparation, and of a query.
    group_by
        Expressions by which a query groups.
    """

    operation: str
    columns: list[str] | None
    filters: list[str]
    group_by: list[str]


def released_shape(job: JobDocument, entry: JobInput, *, rows: str | None) -> Shape:
    """Return the shape of what a job releases about one of its inputs.

    Parameters
    ----------
    job
        The job.
    entry
        Its input that names the table.
    rows
        The row filter of the table's policy.
    """
    filters = [] if rows is None else [rows]
    filters += [step.where for step in job.prepare if isinstance(step, FilterStep)]
    group_by: list[str] = []
    sql = job.operation.parameters.get("sql")
    if job.operation.name == "aggregate" and isinstance(sql, str):
        from clf_sdk.expressions import GroupQuery  # noqa: PLC0415 - loads a parser

        try:
            query = GroupQuery.parse(sql)
        except ClfError:
            query = None  # the program refuses it, so nothing is released
        if query is not None:
            group_by = [expression.text for expression in query.keys.values()]
            filters += [] if query.where is None else [query.where.text]
    return Shape(job.operation.name, entry.columns, filters, group_by)
