"""Whatever holds a table, as record batches that are each one row group."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from clf_sdk.errors import InvalidInput
from clf_sdk.sealed._batch import normalise_batch
from clf_sdk.sealed._cut import cut
from clf_sdk.sealed._files import from_path
from clf_sdk.sealed._pandas import from_pandas, is_data_frame
from clf_sdk.sealed._schema import normalise_schema

TARGET_BYTES = 64 << 20


class RecordBatches:
    """Normalised record batches of one schema, to be iterated once.

    Attributes
    ----------
    schema
        Normalised schema of every batch.
    """

    def __init__(
        self, source: pa.Schema, batches: Iterable[pa.RecordBatch], target_bytes: int
    ) -> None:
        self.schema: pa.Schema = normalise_schema(source)
        self._batches = self._normal(cut(_readable(batches), self.schema, target_bytes))

    def __repr__(self) -> str:
        return f"RecordBatches({len(self.schema):,} columns)"

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return self._batches

    def _normal(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield normalise_batch(batch, self.schema)


def _readable(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Validate what comes in; a source that breaks off says so without quoting a value."""
    try:
        for batch in batches:
            batch.validate(full=True)
            yield batch
    except pa.ArrowException:
        raise InvalidInput("the source ended with an error, or its Arrow data is invalid") from None


def _index_columns(schema: pa.Schema) -> set[str]:
    """Columns that pandas wrote as the index of a frame."""
    try:
        described = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
        return {name for name in described.get("index_columns", []) if isinstance(name, str)}
    except (ValueError, AttributeError, TypeError):
        return set()


def _open(source: Any, index: bool, target_bytes: int) -> tuple[pa.Schema, Iterable[Any]]:  # noqa: FBT001 - one caller, which names it
    if is_data_frame(source):
        return from_pandas(source, index=index, target_bytes=target_bytes)
    if isinstance(source, str | os.PathLike):
        return from_path(source, target_bytes=target_bytes)
    if isinstance(source, pa.RecordBatch):
        return source.schema, [source]
    if isinstance(source, pa.Table) and source.schema.names:
        return source.schema, source.to_batches()
    if isinstance(source, pa.Table):
        return source.schema, [
            pa.RecordBatch.from_struct_array(
                pa.Array.from_buffers(pa.struct([]), source.num_rows, [None])
            )
        ]
    if hasattr(source, "__arrow_c_stream__"):
        reader = pa.RecordBatchReader.from_stream(source)
        return reader.schema, reader
    raise InvalidInput(
        f"a {type(source).__name__} is not a table",
        hint="use a pandas or polars DataFrame, a pyarrow Table, or a path to .parquet or .csv",
    )


def as_record_batches(
    source: Any, *, index: bool = False, target_bytes: int = TARGET_BYTES
) -> RecordBatches:
    """Read a table from whatever holds it, row group after row group.

    Parameters
    ----------
    source
        A pandas DataFrame, a pyarrow Table, RecordBatch or RecordBatchReader, anything with
        ``__arrow_c_stream__`` (polars, DuckDB, …), or a path to a ``.parquet``, ``.csv`` or
        ``.csv.gz`` file. It is not changed.
    index
        Whether the index of a frame (or the columns that pandas wrote as one) is data. A frame's
        index comes first.
    target_bytes
        Arrow data in one row group, about.

    Returns
    -------
    RecordBatches
        Has `schema`, and yields batches that are each one row group.

    Raises
    ------
    UnsupportedColumn
        A column that can't be stored; the message names it and shows no value.
    InvalidInput
        Not a table, or one that can't be read.
    """
    schema, batches = _open(source, index, target_bytes)
    hidden = set() if index else _index_columns(schema)
    if hidden:
        kept = [i for i, name in enumerate(schema.names) if name not in hidden]
        schema = pa.schema([schema.field(i) for i in kept])
        batches = (batch.select(kept) for batch in batches)
    return RecordBatches(schema, batches, target_bytes)
