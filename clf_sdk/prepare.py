"""Steps that a job does before its operation: ``clf.prepare.filter``, ``derive``, ….

Conditions and expressions are SQL (docs/protocol.md §3.5), checked when the job is made and again
where it runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from clf_sdk._made import made as _made
from clf_sdk.expressions import Expression
from clf_sdk.protocol import (
    BinStep,
    DeriveStep,
    FilterStep,
    ImputeStep,
    OneHotStep,
    SelectStep,
    SplitStep,
    StandardiseStep,
)

__all__ = ["bin", "derive", "filter", "impute", "one_hot", "select", "split", "standardise"]


def _listed(columns: str | Sequence[str]) -> list[str]:
    return [columns] if isinstance(columns, str) else list(columns)


def filter(where: str) -> FilterStep:  # noqa: A001 - read as clf.prepare.filter
    """Keep the rows for which a condition is true, such as ``"age >= 18"``."""
    Expression.parse(where)
    made: FilterStep = _made(FilterStep, kind="filter", where=where)
    return made


def derive(column: str, expression: str) -> DeriveStep:
    """Add a column, or replace one, such as ``derive("bmi", "weight / (height * height)")``."""
    Expression.parse(expression)
    made: DeriveStep = _made(DeriveStep, kind="derive", column=column, expression=expression)
    return made


def select(*columns: str) -> SelectStep:
    """Keep these columns only, in this order; keys stay."""
    made: SelectStep = _made(SelectStep, kind="select", columns=list(columns))
    return made


def bin(  # noqa: A001 - read as clf.prepare.bin
    column: str, edges: Sequence[float], *, labels: Sequence[str] | None = None
) -> BinStep:
    """Replace numbers by the interval ``[edge, next edge)`` they lie in.

    Parameters
    ----------
    column
        The column.
    edges
        Rising. Below the first and from the last on lie intervals, too.
    labels
        One more than edges; None numbers the intervals from 0.
    """
    made: BinStep = _made(
        BinStep,
        kind="bin",
        column=column,
        edges=[float(edge) for edge in edges],
        labels=None if labels is None else list(labels),
    )
    return made


def standardise(columns: str | Sequence[str]) -> StandardiseStep:
    """Subtract the mean of all rows, and divide by their standard deviation."""
    made: StandardiseStep = _made(StandardiseStep, kind="standardise", columns=_listed(columns))
    return made


def one_hot(
    column: str, *, categories: Sequence[str] | None = None, drop_first: bool = False
) -> OneHotStep:
    """Replace a column by columns ``column=category`` of 0 and 1.

    Parameters
    ----------
    column
        The column.
    categories
        Which; None: those that enough people have, in order.
    drop_first
        Whether the first category gets no column, so that a model can have a constant term.
    """
    made: OneHotStep = _made(
        OneHotStep,
        kind="one_hot",
        column=column,
        categories=None if categories is None else list(categories),
        drop_first=drop_first,
    )
    return made


def impute(
    columns: str | Sequence[str],
    fill_with: Literal["mean", "median", "mode", "value"] = "mean",
    *,
    value: float | str | bool | None = None,
) -> ImputeStep:
    """Fill missing values with a statistic of the others, or with a value."""
    made: ImputeStep = _made(
        ImputeStep, kind="impute", columns=_listed(columns), fill_with=fill_with, value=value
    )
    return made


def split(*, test_fraction: float = 0.25, seed: int, column: str = "is_test") -> SplitStep:
    """Divide the rows in training and test rows.

    Parameters
    ----------
    test_fraction
        About which part of the rows is for testing.
    seed
        Another seed is another division; rows with equal keys stay together in each.
    column
        Name of the column that is true for test rows.
    """
    made: SplitStep = _made(
        SplitStep, kind="split", column=column, test_fraction=test_fraction, seed=seed
    )
    return made
