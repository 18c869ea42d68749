"""Statistics with noise, for `clf.PrivateStatistics`: ``clf.private.count``, ``mean``, ….

Each costs its epsilon: less epsilon, more noise (docs/disclosure.md, "Noise and budgets"). Bounds
and categories are what the analyst expects; nothing of them is taken from the data.
"""

from __future__ import annotations

from collections.abc import Sequence

from clf_sdk._made import made as _made
from clf_sdk.operations._private_statistics import (
    PrivateCount,
    PrivateHistogram,
    PrivateMean,
    PrivateSum,
)

__all__ = ["count", "histogram", "mean", "sum"]


def count(name: str = "count", *, epsilon: float, column: str | None = None) -> PrivateCount:
    """Count rows; with a column, those that have a value in it.

    Parameters
    ----------
    name
        What the number is called in the result.
    epsilon
        What it costs.
    column
        The column.
    """
    made: PrivateCount = _made(
        PrivateCount, kind="count", name=name, column=column, epsilon=epsilon
    )
    return made


def sum(  # noqa: A001 - read as clf.private.sum
    column: str,
    *,
    lower: float,
    upper: float,
    epsilon: float,
    missing: float | None = None,
    name: str | None = None,
) -> PrivateSum:
    """Sum a column.

    Parameters
    ----------
    column
        Numbers, or truth values as 0 and 1.
    lower, upper
        Bounds; values beyond them count as the nearer one. Wider bounds need more noise.
    epsilon
        What it costs.
    missing
        What a missing value counts as; None: nothing.
    name
        What the number is called in the result; by default ``sum_`` and the column.
    """
    made: PrivateSum = _made(
        PrivateSum,
        kind="sum",
        name=name or f"sum_{column}",
        column=column,
        lower=lower,
        upper=upper,
        missing=missing,
        epsilon=epsilon,
    )
    return made


def mean(
    column: str,
    *,
    lower: float,
    upper: float,
    epsilon: float,
    missing: float | None = None,
    name: str | None = None,
) -> PrivateMean:
    """Take the mean of a column: a noised sum by a noised count, each for half of the epsilon.

    Parameters
    ----------
    column
        Numbers, or truth values as 0 and 1.
    lower, upper
        Bounds; values beyond them count as the nearer one. Wider bounds need more noise.
    epsilon
        What it costs.
    missing
        What a missing value counts as; None: rows without a value do not count.
    name
        What the number is called in the result; by default ``mean_`` and the column.
    """
    made: PrivateMean = _made(
        PrivateMean,
        kind="mean",
        name=name or f"mean_{column}",
        column=column,
        lower=lower,
        upper=upper,
        missing=missing,
        epsilon=epsilon,
    )
    return made


def histogram(
    column: str,
    *,
    epsilon: float,
    categories: Sequence[str] | None = None,
    edges: Sequence[float] | None = None,
    name: str | None = None,
) -> PrivateHistogram:
    """Count rows by categories, or by the interval in which a number lies.

    All cells together cost epsilon once, because a row is in one of them.

    Parameters
    ----------
    column
        The column.
    epsilon
        What it costs.
    categories
        Values as texts; all others are counted together.
    edges
        Rising numbers: below the first one, ``[edge, next edge)``, from the last one on.
    name
        What the numbers are called in the result; by default ``histogram_`` and the column.
    """
    made: PrivateHistogram = _made(
        PrivateHistogram,
        kind="histogram",
        name=name or f"histogram_{column}",
        column=column,
        categories=None if categories is None else list(categories),
        edges=None if edges is None else [float(edge) for edge in edges],
        epsilon=epsilon,
    )
    return made
