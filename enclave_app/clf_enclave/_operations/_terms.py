"""Terms of a linear model: products of columns and of indicators of categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clf_enclave._data import AlignedData
from clf_enclave._operations._people import Numbers
from clf_sdk.errors import InvalidJob

CONSTANT = "const"
MOST_CATEGORIES = 1000
_CLEARLY_POSITIVE = 1e-10


@dataclass(frozen=True)
class Factor:
    """A column of numbers, or the indicator of one category of a column of texts."""

    column: str
    category: str | None = None

    @property
    def name(self) -> str:
        """What it is called in results."""
        return self.column if self.category is None else f"{self.column}={self.category}"


@dataclass(frozen=True)
class Term:
    """A product of factors; of none, the constant."""

    factors: tuple[Factor, ...]

    @property
    def name(self) -> str:
        """What it is called in results."""
        return ":".join(factor.name for factor in self.factors) or CONSTANT

    def to_json(self) -> dict[str, Any]:
        """Return the term as it stands in a model."""
        return {
            "term": self.name,
            "factors": [
                {"column": factor.column, "category": factor.category} for factor in self.factors
            ],
        }


def is_number(kind: pa.DataType) -> bool:
    """Return whether values of a type can be computed with."""
    return bool(
        pa.types.is_boolean(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
    )


def is_text(kind: pa.DataType) -> bool:
    """Return whether a type holds texts."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def numbers(table: pa.Table, column: str) -> Numbers:
    """Return a column as numbers; truth values become 0 and 1, missing values NaN.

    Raises
    ------
    InvalidJob
        It holds something else.
    """
    values = table[column]
    if not is_number(values.type):
        raise InvalidJob(
            f"column {column!r} has type {values.type}, and a model needs numbers",
            hint="make it numbers in the job's preparation, for example with one_hot",
        )
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    made: Numbers = (
        values.cast(pa.float64(), safe=False).combine_chunks().to_numpy(zero_copy_only=False)
    )
    return made


def truth(table: pa.Table, column: str) -> Numbers:
    """Return a column of truth values, or of 0 and 1, as numbers.

    Raises
    ------
    InvalidJob
        It holds something else, or only one of both.
    """
    values = numbers(table, column)
    if not np.isin(values, (0.0, 1.0)).all() or values.min() == values.max():
        raise InvalidJob(
            f"column {column!r} must hold 0 and 1, or truth values, and both of them",
            hint="derive it in the job's preparation",
        )
    return values


def matrix(table: pa.Table, columns: Sequence[str]) -> Numbers:
    """Return columns of numbers side by side."""
    return np.column_stack([numbers(table, name) for name in columns])


def column_terms(columns: Sequence[str], *, intercept: bool) -> list[Term]:
    """Return a term for each column of numbers, after the constant."""
    constant = [Term(())] if intercept else []
    return [*constant, *(Term((Factor(name),)) for name in columns)]


def levels(data: AlignedData, columns: Sequence[str]) -> dict[str, list[str]]:
    """Return the texts of columns, in order; memory is these, and a few rows.

    Raises
    ------
    InvalidJob
        A column has too many.
    """
    found: dict[str, set[str]] = {name: set() for name in columns}
    for batch in data.batches(columns) if columns else ():
        for name, known in found.items():
            known.update(pc.unique(batch[name]).drop_null().to_pylist())
            if len(known) > MOST_CATEGORIES:
                raise InvalidJob(
                    f"column {name!r} has more than {MOST_CATEGORIES:,} categories",
                    hint="merge rare ones in the job's preparation, or leave it out",
                )
    return {name: sorted(known) for name, known in found.items()}


def _factor(table: pa.Table, factor: Factor, known: dict[Factor, Numbers]) -> Numbers:
    if factor not in known:
        if factor.category is None:
            known[factor] = numbers(table, factor.column)
        else:
            same = pc.equal(table[factor.column], factor.category).cast(pa.float64())
            known[factor] = same.combine_chunks().to_numpy(zero_copy_only=False)
    return known[factor]


def design(table: pa.Table, terms: Sequence[Term]) -> Numbers:
    """Return the design matrix: a column for each term.

    Raises
    ------
    InvalidJob
        A column is missing, or has another type than its term needs.
    """
    known: dict[Factor, Numbers] = {}
    for factor in (factor for term in terms for factor in term.factors):
        if factor.category is not None and not is_text(table.schema.field(factor.column).type):
            raise InvalidJob(f"the model takes categories of column {factor.column!r}, no numbers")
    made = np.ones((table.num_rows, len(terms)))
    for number, term in enumerate(terms):
        for factor in term.factors:
            made[:, number] *= _factor(table, factor, known)
    return made


def is_collinear(made: Numbers) -> bool:
    """Return whether columns of deviation about one follow from each other.

    The products of columns show at once that most designs are not collinear: what they show of the
    smallest singular value is exact to about 1e-8 of the largest. Only a design that comes near to
    that is decomposed itself, which takes many times as long.
    """
    if made.shape[1] <= made.shape[0]:
        values = np.linalg.eigvalsh(made.T @ made)
        if values[0] > _CLEARLY_POSITIVE * values[-1]:
            return False
    return bool(np.linalg.matrix_rank(made) < made.shape[1])


def read_terms(found: Sequence[Mapping[str, Any]]) -> list[Term]:
    """Return terms from a model's JSON, the inverse of `Term.to_json`."""
    return [
        Term(tuple(Factor(each["column"], each["category"]) for each in term["factors"]))
        for term in found
    ]
