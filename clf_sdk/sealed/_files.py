"""Parquet and CSV files as Arrow batches, without reading them whole."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from clf_sdk.errors import InvalidInput, UnsupportedColumn
from clf_sdk.sealed._schema import shown_name

_CSV_BLOCK_BYTES = 8 << 20
_CSV_COLUMN = re.compile(r"In CSV column #(\d+)")


def _from_parquet(path: Path, target_bytes: int) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    file = pa.parquet.ParquetFile(path)
    metadata = file.metadata
    stored = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    width = max(1, stored // max(1, metadata.num_rows))
    rows = max(1024, min(metadata.num_rows, target_bytes // width))

    def batches() -> Iterator[pa.RecordBatch]:
        with file:
            yield from file.iter_batches(batch_size=rows)

    return file.schema_arrow, batches()


def _csv_error(error: Exception, names: list[str] | None) -> InvalidInput:
    """Say what went wrong in a CSV file, without the value that Arrow's message quotes."""
    found = _CSV_COLUMN.search(str(error))
    if found is None:
        return InvalidInput("the CSV file can't be parsed", hint="each line needs equal columns")
    number = int(found[1])
    known = names is not None and number < len(names)
    name = shown_name(names[number]) if known and names is not None else f"number {number}"
    return UnsupportedColumn(
        f"column {name} of the CSV file has a value that does not fit the type of its first rows",
        hint="read it with pandas.read_csv(…, dtype=…) and share the frame",
    )


def _from_csv(path: Path) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    options = pa.csv.ReadOptions(block_size=_CSV_BLOCK_BYTES)
    try:
        reader = pa.csv.open_csv(path, read_options=options)
    except pa.ArrowException as error:
        raise _csv_error(error, None) from None
    names = reader.schema.names

    def batches() -> Iterator[pa.RecordBatch]:
        with reader:
            try:
                yield from reader
            except pa.ArrowException as error:
                raise _csv_error(error, names) from None

    return reader.schema, batches()


def from_path(
    source: str | os.PathLike[str], *, target_bytes: int
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Return schema and batches of a ``.parquet``, ``.csv`` or ``.csv.gz`` file.

    Raises
    ------
    InvalidInput
        No such file, another suffix, or a file that can't be read.
    """
    path = Path(source)
    name = path.name.lower()
    try:
        if name.endswith(".parquet"):
            return _from_parquet(path, target_bytes)
        if name.endswith((".csv", ".csv.gz")):
            return _from_csv(path)
    except FileNotFoundError:
        raise InvalidInput(f"there is no file {path}") from None
    except (pa.ArrowException, OSError):
        raise InvalidInput(f"{path} can't be read") from None
    raise InvalidInput(
        f"{path} is not a kind of file that can be shared", hint="use .parquet, .csv or .csv.gz"
    )
