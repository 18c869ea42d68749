"""The table that is carried, and what it is compared by."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from blake3 import blake3

COLUMNS = 16
_WIDTH_BYTES = 8
_SEED = 20190


def make_table(size_mib: int) -> pa.Table:
    """Sixteen columns of random float64 and int64 in turn, without nulls.

    Numbers only: that is where Arrow Flight is at its best, because nothing is ever copied.
    """
    rows = (size_mib << 20) // (COLUMNS * _WIDTH_BYTES)
    random = np.random.default_rng(_SEED)
    columns = {}
    for i in range(COLUMNS):
        whole = i % 2 == 0
        values = random.integers(0, 1 << 60, rows) if whole else random.standard_normal(rows)
        columns[f"c{i:02d}"] = pa.array(values)
    return pa.table(columns)


def vary(table: pa.Table, number: int) -> pa.Table:
    """Return the table with another first column: content that no server has seen."""
    first = pa.array(np.arange(number << 40, (number << 40) + table.num_rows))
    return table.set_column(0, table.schema.field(0), first)


def fingerprint(table: pa.Table) -> str:
    """Digest of the values, however they are chunked."""
    hasher = blake3(max_threads=blake3.AUTO)
    for column in table.columns:
        for chunk in column.chunks:
            data = chunk.buffers()[1].slice(chunk.offset * _WIDTH_BYTES, len(chunk) * _WIDTH_BYTES)
            hasher.update(memoryview(data).cast("B"))
    return hasher.hexdigest()
