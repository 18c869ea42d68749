"""Plain files, as tables of bytes (docs/protocol.md §4.6)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from clf_sdk.errors import InvalidInput
from clf_sdk.sealed._input import RecordBatches

FILE_COLUMN = "bytes"
FILE_SCHEMA: pa.Schema = pa.schema([pa.field(FILE_COLUMN, pa.uint8(), nullable=False)])
FILE_GROUP_BYTES = 4 << 20
"""What a reader pulls at least, however small the range that it wants."""


def is_file(columns: Sequence[tuple[str, str, bool]]) -> bool:
    """Tell whether columns, each by name, type and nullability, are those of a file."""
    return list(columns) == [(FILE_COLUMN, "uint8", False)]


def _batch(data: Any) -> pa.RecordBatch:
    """Return bytes as a batch, without a copy."""
    buffer = pa.py_buffer(data)
    array = pa.Array.from_buffers(pa.uint8(), buffer.size, [None, buffer])
    return pa.RecordBatch.from_arrays([array], schema=FILE_SCHEMA)


def _pieces(path: Path) -> Iterator[pa.RecordBatch]:
    try:
        with path.open("rb") as file:
            while piece := file.read(FILE_GROUP_BYTES):
                yield _batch(piece)
    except OSError as error:
        raise InvalidInput(f"{path} can't be read: {error.strerror}") from error


def _in_memory(data: memoryview) -> Iterator[pa.RecordBatch]:
    for start in range(0, data.nbytes, FILE_GROUP_BYTES):
        yield _batch(data[start : start + FILE_GROUP_BYTES])


def file_record_batches(source: Any) -> RecordBatches:
    """Read a plain file, row group after row group; memory is one of them.

    Parameters
    ----------
    source
        Path of the file, or its content as bytes or anything else with contiguous bytes.

    Raises
    ------
    InvalidInput
        There is no such file, it is no ordinary file, or it can't be read.
    """
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if not path.exists():
            raise InvalidInput(f"there is no file {path}")
        if not path.is_file():
            raise InvalidInput(
                f"{path} is not an ordinary file", hint="pack a directory into an archive first"
            )
        return RecordBatches(FILE_SCHEMA, _pieces(path), FILE_GROUP_BYTES)
    try:
        data = memoryview(source).cast("B")
    except (TypeError, ValueError):
        raise InvalidInput(
            f"a {type(source).__name__} is not a file",
            hint="give the path of a file, or its content as bytes",
        ) from None
    return RecordBatches(FILE_SCHEMA, _in_memory(data), FILE_GROUP_BYTES)
