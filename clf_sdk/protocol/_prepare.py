"""What a job does to the aligned table before its operation, in steps (docs/protocol.md §3.5)."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, StringConstraints, model_validator

from clf_sdk.protocol._align import ColumnName
from clf_sdk.protocol._document import Document

Expression = Annotated[str, StringConstraints(min_length=1, max_length=4000)]
_Names = Annotated[list[ColumnName], Field(min_length=1, max_length=16384)]
_Label = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class FilterStep(Document):
    """Keep the rows for which a condition is true."""

    kind: Literal["filter"]
    where: Expression


class DeriveStep(Document):
    """Add a column, or replace one, by an expression over the others."""

    kind: Literal["derive"]
    column: ColumnName
    expression: Expression


class SelectStep(Document):
    """Keep these columns only, in this order."""

    kind: Literal["select"]
    columns: _Names


class BinStep(Document):
    """Replace numbers by the number or label of the interval ``[edge, next edge)`` they lie in.

    Below the first and from the last edge on lie intervals, too: there is one label more than
    edges. Without labels the intervals are numbered from 0.
    """

    kind: Literal["bin"]
    column: ColumnName
    edges: Annotated[list[float], Field(min_length=1, max_length=1000)]
    labels: Annotated[list[_Label], Field(min_length=2, max_length=1001)] | None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if sorted(set(self.edges)) != self.edges:
            raise ValueError("the edges of bins must rise")
        if self.labels is not None and len(self.labels) != len(self.edges) + 1:
            raise ValueError("bins need one label more than edges")
        return self


class StandardiseStep(Document):
    """Subtract the mean and divide by the standard deviation (of n - 1) of all rows."""

    kind: Literal["standardise"]
    columns: _Names


class OneHotStep(Document):
    """Replace a column by one column of 0 and 1 for each category, named ``column=category``.

    Attributes
    ----------
    column
        The column.
    categories
        Which; null: those that enough people have, in order. All others count as none of them.
    drop_first
        Whether the first category has no column of its own.
    """

    kind: Literal["one_hot"]
    column: ColumnName
    categories: Annotated[list[_Label], Field(min_length=1, max_length=1000)] | None
    drop_first: bool


class ImputeStep(Document):
    """Fill missing values, and NaN: with a statistic of the others, or with a value."""

    kind: Literal["impute"]
    columns: _Names
    fill_with: Literal["mean", "median", "mode", "value"]
    value: float | str | bool | None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.fill_with == "value") != (self.value is not None):
            raise ValueError('a value is given if, and only if, fill_with is "value"')
        return self


class SplitStep(Document):
    """Divide the rows in training and test rows, by a column that is true for test rows.

    Rows with equal keys of the alignment stay together. A row is a test row if the first 16 hex
    digits of MD5(``seed/key 1/key 2…``), read as a number and divided by 2^64, lie below the
    fraction; it depends on nothing else.
    """

    kind: Literal["split"]
    column: ColumnName
    test_fraction: Annotated[float, Field(gt=0, lt=1)]
    seed: Annotated[int, Field(ge=0, lt=2**53)]


PrepareStep: TypeAlias = Annotated[
    FilterStep
    | DeriveStep
    | SelectStep
    | BinStep
    | StandardiseStep
    | OneHotStep
    | ImputeStep
    | SplitStep,
    Field(discriminator="kind"),
]
