"""Run a row filter over record batches, in a DuckDB that can do nothing else."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from clf_sdk.errors import InvalidFilter
from clf_sdk.filters._row_filter import RowFilter

_ROW = "row"
_ROWS = "rows"
_LOCKED_DOWN = (
    "threads = 1",
    "memory_limit = '512MB'",
    "temp_directory = ''",
    "autoinstall_known_extensions = false",
    "autoload_known_extensions = false",
    "allow_community_extensions = false",
    "python_enable_replacements = false",
    "enable_external_access = false",
    "lock_configuration = true",
)


def _comparable(array: pa.Array) -> pa.Array:
    """Return a column as DuckDB reads it: plain values, times in UTC, NaN as a missing value."""
    if types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if types.is_timestamp(array.type) and array.type.tz is not None:
        return array.cast(pa.timestamp(array.type.unit))
    if types.is_floating(array.type):
        wide = array.cast(pa.float64())
        return pc.if_else(pc.is_nan(wide), pa.scalar(None, pa.float64()), wide)
    return array


class FilterRun:
    """A row filter at work on the batches of one table. Used as a block, in one thread.

    DuckDB sees the columns that the filter reads, under names of our own, and says which rows meet
    it; the rows themselves do not pass through it, so no value can change on the way.

    Parameters
    ----------
    row_filter
        The filter.
    schema
        Schema of the batches; it has at least the filter's columns.

    Raises
    ------
    InvalidFilter
        The filter does not fit the schema.
    """

    def __init__(self, row_filter: RowFilter, schema: pa.Schema) -> None:
        condition, self._texts = row_filter.sql(schema)
        self._columns = row_filter.columns
        # The condition is made from checked nodes: its names are ours, its texts parameters.
        self._query = f"SELECT {_ROW} FROM {_ROWS} WHERE {condition}"  # noqa: S608
        self._connection = duckdb.connect(":memory:")
        try:
            for setting in _LOCKED_DOWN:
                self._connection.execute(f"SET {setting}")
            empty = [pa.array([], schema.field(name).type) for name in self._columns]
            self._matching(empty, 0)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database's memory."""
        self._connection.close()

    def keep(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the rows of a batch that meet the filter, in their order.

        Raises
        ------
        InvalidFilter
            The filter can't be computed on these rows.
        """
        rows = self._matching([batch.column(name) for name in self._columns], batch.num_rows)
        return batch if len(rows) == batch.num_rows else batch.take(rows)

    def _matching(self, columns: list[pa.Array], count: int) -> pa.Array:
        """Numbers of the rows that meet the filter, rising."""
        numbers = pc.subtract(pc.cumulative_sum(pa.repeat(pa.scalar(1, pa.int64()), count)), 1)
        names = [_ROW, *(f"c{i}" for i in range(len(columns)))]
        table = pa.table([numbers, *map(_comparable, columns)], names=names)
        try:
            self._connection.register(_ROWS, table)
            found = self._connection.sql(self._query, params=self._texts).to_arrow_table()
        except duckdb.Error:
            # The database's message may quote a value.
            raise InvalidFilter(
                "the row filter can't be computed on this table",
                hint="compare each column with values that its type can hold",
            ) from None
        finally:
            self._connection.unregister(_ROWS)
        rows = found.column(_ROW).combine_chunks()
        return rows.take(pc.sort_indices(rows))
