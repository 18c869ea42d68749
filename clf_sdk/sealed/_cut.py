"""Cut and merge record batches so that each becomes one row group."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

from clf_sdk.sealed._batch import batch_of
from clf_sdk.sealed._dictionaries import unify_dictionaries
from clf_sdk.sealed._manifest import MAX_ROWS_PER_GROUP


def _slices(batch: pa.RecordBatch, target_bytes: int) -> Iterator[pa.RecordBatch]:
    """Zero-copy slices of equal row counts, about `target_bytes` each."""
    pieces = max(1, round(batch.nbytes / target_bytes), -(-batch.num_rows // MAX_ROWS_PER_GROUP))
    rows = max(1, -(-batch.num_rows // pieces))
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


def _merge(batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    if len(batches) == 1:
        return batches
    table = unify_dictionaries(pa.Table.from_batches(batches))
    try:
        merged: list[pa.RecordBatch] = table.combine_chunks().to_batches()
    except pa.ArrowInvalid:
        # Dictionaries that one index type can't count together.
        return batches
    return merged


def _without_columns(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    rows = sum(batch.num_rows for batch in batches)
    while rows:
        count = min(rows, MAX_ROWS_PER_GROUP)
        yield batch_of([], pa.schema([]), count)
        rows -= count


def cut(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, target_bytes: int
) -> Iterator[pa.RecordBatch]:
    """Cut and merge batches of one schema to between half and one and a half of `target_bytes`.

    The last one may be smaller. No batch is empty; memory is what is not yet handed on.
    """
    if not schema.names:
        yield from _without_columns(batches)
        return
    pending: list[pa.RecordBatch] = []
    pending_bytes = pending_rows = 0
    for batch in batches:
        for piece in _slices(batch, target_bytes):
            size = piece.nbytes
            too_much = pending_bytes + size > target_bytes * 3 // 2
            if pending and (too_much or pending_rows + piece.num_rows > MAX_ROWS_PER_GROUP):
                yield from _merge(pending)
                pending, pending_bytes, pending_rows = [], 0, 0
            pending.append(piece)
            pending_bytes += size
            pending_rows += piece.num_rows
            if pending_bytes * 2 >= target_bytes:
                yield from _merge(pending)
                pending, pending_bytes, pending_rows = [], 0, 0
    if pending:
        yield from _merge(pending)
