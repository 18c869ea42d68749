"""Moments that the database can't hold are missing, so that none of them ends a run.

It counts microseconds in 64 bits: seconds that Arrow can count, and a few microseconds at both
ends, are beyond that. It would say so by an error where such a value is read, or only where the row
that holds it is joined with another.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from clf_enclave._spill import Stream

_FARTHEST_SECONDS = 9_223_372_022_400
_PARTS = {"s": 1, "ms": 1_000, "us": 1_000_000}
"""Parts of a second; a column of nanoseconds does not reach as far."""

_Rows = TypeVar("_Rows", pa.Table, pa.RecordBatch)


class _WithinReach(Stream):
    """A stream without such moments."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.schema = stream.schema
        self.rows = stream.rows

    def batches(self) -> Iterator[pa.RecordBatch]:
        """See `Stream.batches`."""
        for batch in self._stream.batches():
            yield _of_rows(batch)


def within_reach(table: pa.Table | Stream) -> pa.Table | Stream:
    """Return a table or stream in which moments and durations beyond the database's are null."""
    if not any(_is_affected(field.type) for field in table.schema):
        return table
    return _WithinReach(table) if isinstance(table, Stream) else _of_rows(table)


def _is_affected(kind: pa.DataType) -> bool:
    return (pa.types.is_timestamp(kind) or pa.types.is_duration(kind)) and kind.unit in _PARTS


def _of_rows(rows: _Rows) -> _Rows:
    for number, field in enumerate(rows.schema):
        if not _is_affected(field.type):
            continue
        counts = rows.column(number).cast(pa.int64())
        farthest = _FARTHEST_SECONDS * _PARTS[field.type.unit]
        inside = pc.and_(pc.less_equal(counts, farthest), pc.greater_equal(counts, -farthest))
        if not pc.all(inside).as_py():
            # Zeros beneath the nulls: the database converts what lies there, too.
            zeroed = pc.if_else(inside, counts, 0)
            values = pc.if_else(inside, zeroed, None).cast(field.type)
            rows = rows.set_column(number, field, values)
    return rows
