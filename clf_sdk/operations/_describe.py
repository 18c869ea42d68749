"""Parameters of ``describe`` (docs/operations.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Self

from pydantic import BeforeValidator, Field, model_validator

from clf_sdk.operations._parameters import Columns, Parameters, as_list
from clf_sdk.protocol import ColumnName

_Pair = Annotated[Sequence[ColumnName], BeforeValidator(as_list), Field(min_length=2, max_length=2)]


class Describe(Parameters):
    """Counts, moments, quantiles, categories, correlations and cross-tabulations.

    Parameters
    ----------
    columns
        Columns to describe; by default all but the keys.
    quantiles
        Which quantiles of numbers.
    correlations
        Whether to correlate all pairs of number columns.
    cross_tabulations
        Pairs of columns whose categories are counted together.
    most_categories
        How many different values a column of texts or truth values may have to be counted.

    Raises
    ------
    InvalidJob
        A parameter is missing, unknown or makes no sense.
    """

    operation: ClassVar[str] = "describe"
    reveals: ClassVar[str] = (
        "for each column how many values there are, means, deviations, skewness, kurtosis and "
        "quantiles of numbers, how often each category stands, how numbers correlate, and how "
        "often categories stand together; nothing about groups smaller than owners allow"
    )

    columns: Columns | None = None
    quantiles: Annotated[
        Sequence[Annotated[float, Field(gt=0, lt=1)]], Field(min_length=1, max_length=99)
    ] = (0.05, 0.25, 0.5, 0.75, 0.95)
    correlations: bool = True
    cross_tabulations: Annotated[Sequence[_Pair], Field(max_length=100)] = ()
    most_categories: Annotated[int, Field(ge=1, le=1000)] = 100

    @model_validator(mode="after")
    def _check(self) -> Self:
        if sorted(set(self.quantiles)) != list(self.quantiles):
            raise ValueError("quantiles must rise")
        if any(len(set(pair)) == 1 for pair in self.cross_tabulations):
            raise ValueError("a cross-tabulation needs two different columns")
        return self
