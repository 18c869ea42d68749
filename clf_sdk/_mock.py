"""Mock data: rows of the same schema that nobody has (docs/protocol.md §11.5).

Of a table they show, column by column, in which round bounds its numbers lie and which values many
rows have. What few rows have shows nowhere, and no row of the mock was made from a row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clf_sdk.errors import InvalidInput
from clf_sdk.policy import Policy

ROWS = 200
_LEAST_GROUP = 10
_MOST_CATEGORIES = 50
_MISSING = 0.1

_Numbers: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"


class MockMaker:
    """Looks at batches of a table, one after the other, and makes its mock.

    Parameters
    ----------
    schema
        Of the table.
    policy
        Its columns, smallest group and entity decide what is looked at.
    """

    def __init__(self, schema: pa.Schema, policy: Policy) -> None:
        group = max(policy.smallest_group, _LEAST_GROUP)
        # Where several rows are of one person, rows do not count people; and rows that may not
        # leave must not show here. Then nothing is looked at.
        looks = policy.entity is None and policy.rows is None
        self._columns = {
            field.name: _Column(field, group if looks else None)
            for field in schema
            if policy.columns is None or field.name in policy.columns
        }

    def watch(self, batches: Any) -> Iterator[pa.RecordBatch]:
        """Yield batches as they are, and look at them."""
        for batch in batches:
            for name, column in self._columns.items():
                column.look(batch.column(name))
            yield batch

    def table(self) -> pa.Table:
        """Return the mock."""
        random = np.random.default_rng(0)
        return pa.table({name: column.mock(random) for name, column in self._columns.items()})


class _Column:
    """What is seen of one column."""

    def __init__(self, field: pa.Field, group: int | None) -> None:
        self._field = field
        self._kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        self._group = group
        self._counts: Counter[Any] | None = Counter()
        self._missing = 0
        self._low: _Numbers = np.empty(0)
        self._high: _Numbers = np.empty(0)
        self._whole = True

    def look(self, values: pa.Array) -> None:
        if self._group is None:
            return
        self._missing += values.null_count
        values = values.drop_null()
        if pa.types.is_dictionary(values.type):
            values = values.cast(self._kind)
        if _is_text(self._kind) or _is_numeric(self._kind):
            self._count(values)
        if _is_numeric(self._kind):
            self._bound(_as_numbers(values))

    def _count(self, values: pa.Array) -> None:
        if self._counts is None:
            return
        for entry in pc.value_counts(values):
            self._counts[entry["values"].as_py()] += entry["counts"].as_py()
        if len(self._counts) > 20 * _MOST_CATEGORIES:
            self._counts = None

    def _bound(self, numbers: _Numbers) -> None:
        numbers = numbers[np.isfinite(numbers)]
        self._whole = self._whole and bool((numbers == np.floor(numbers)).all())
        keep = self._group or 0
        self._low = np.sort(np.concatenate([self._low, numbers]))[:keep]
        self._high = np.sort(np.concatenate([self._high, numbers]))[::-1][:keep]

    @property
    def _categories(self) -> list[Any]:
        """Values that enough rows have, where these are most of the values that there are."""
        if self._group is None or not self._counts:
            return []
        common = [value for value, count in self._counts.items() if count >= self._group]
        if len(common) > _MOST_CATEGORIES or (
            _is_numeric(self._kind) and 2 * len(common) < len(self._counts)
        ):
            return []
        return sorted(common)

    @property
    def _bounds(self) -> tuple[float, float]:
        """Round numbers within which all but a few rows lie."""
        if self._group is None or len(self._low) < self._group:
            return (0.0, 100.0)
        low, high = float(self._low[-1]), float(self._high[-1])
        spread = high - low
        step = 10.0 ** np.floor(np.log10(spread)) if spread > 0 else 1.0
        if self._whole:
            step = max(step, 1.0)
        first, last = float(np.round(low / step) * step), float(np.round(high / step) * step)
        return (first, last) if first < last else (first, first + float(step))

    def mock(self, random: np.random.Generator) -> pa.Array:
        made = self._values(random)
        if self._field.nullable and self._missing >= (self._group or 1):
            made = pc.if_else(pa.array(random.random(ROWS) >= _MISSING), made, None)
        return made.cast(self._field.type)

    def _values(self, random: np.random.Generator) -> pa.Array:
        kind = self._kind
        if categories := self._categories:
            return pa.array(
                [categories[n] for n in random.integers(len(categories), size=ROWS)], kind
            )
        if pa.types.is_boolean(kind):
            return pa.array(random.random(ROWS) < 0.5)  # noqa: PLR2004 - a fair coin
        if _is_text(kind):
            return pa.array([f"text {n}" for n in random.integers(5, size=ROWS)], kind)
        if _is_numeric(kind):
            low, high = self._bounds
            numbers = random.uniform(low, high, ROWS)
            if self._whole or not pa.types.is_floating(kind):
                numbers = np.round(numbers)
            return _from_numbers(numbers, kind)
        if self._field.nullable:
            return pa.nulls(ROWS, kind)
        raise InvalidInput(
            f"there is no mock of column {self._field.name!r}: its type is {kind}",
            hint="share the table without mock=True, or without the column",
        )


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_numeric(kind: pa.DataType) -> bool:
    """Return whether values of a type can be put in order as numbers, dates included."""
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_date(kind)
        or pa.types.is_timestamp(kind)
    )


def _as_numbers(values: pa.Array) -> _Numbers:
    if pa.types.is_date32(values.type):
        values = values.cast(pa.int32())
    elif pa.types.is_date64(values.type) or pa.types.is_timestamp(values.type):
        values = values.cast(pa.int64())
    found: _Numbers = values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return found


def _from_numbers(numbers: _Numbers, kind: pa.DataType) -> pa.Array:
    if pa.types.is_date32(kind):
        return pa.array(numbers.astype(np.int32)).cast(kind)
    if pa.types.is_date64(kind):
        days = np.floor(numbers / 86_400_000) * 86_400_000
        return pa.array(days.astype(np.int64)).cast(kind)
    if pa.types.is_timestamp(kind):
        return pa.array(numbers.astype(np.int64)).cast(kind)
    if pa.types.is_integer(kind):
        return pa.array(numbers).cast(pa.int64(), safe=False).cast(kind, safe=False)
    if pa.types.is_decimal(kind):
        return pa.array([f"{number:.{max(kind.scale, 0)}f}" for number in numbers]).cast(kind)
    return pa.array(numbers).cast(kind)
