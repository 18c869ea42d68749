"""Tables that do not fit in memory, in files that are sealed under a key of this run.

The format is that of sealed tables (docs/protocol.md §4): each file is authenticated, and its
digest stays in memory, so that a host can neither read what it holds nor change, swap or roll back
a file without being found out. The key is never written; it dies with the process.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from clf_sdk.errors import SealBroken, StorageFull
from clf_sdk.keys import derive_column_key
from clf_sdk.sealed import TableSealer, as_record_batches, iter_batches

_TABLE = "spilled"
SPILL_BYTES = 8 << 20  # of Arrow data in one file


class Stream:
    """Rows that can be read again and again, batch by batch. DuckDB scans it like a table.

    Attributes
    ----------
    schema
        Of the batches.
    rows
        How many there are.
    """

    schema: pa.Schema
    rows: int

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield all rows, from the first on."""
        raise NotImplementedError

    def reader(self) -> pa.RecordBatchReader:
        """Return the rows as Arrow's own stream."""
        return pa.RecordBatchReader.from_batches(self.schema, self.batches())

    def __arrow_c_schema__(self) -> Any:
        return self.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.reader().__arrow_c_stream__(requested_schema)


class Renamed(Stream):
    """A stream under other column names."""

    def __init__(self, stream: Stream, names: list[str]) -> None:
        self._stream = stream
        self.schema = pa.schema(
            [field.with_name(name) for field, name in zip(stream.schema, names, strict=True)]
        )
        self.rows = stream.rows

    def batches(self) -> Iterator[pa.RecordBatch]:
        """See `Stream.batches`."""
        for batch in self._stream.batches():
            yield batch.rename_columns(self.schema.names)


class Chained(Stream):
    """Streams of one schema, one after the other."""

    def __init__(self, schema: pa.Schema, streams: list[Stream]) -> None:
        self.schema = schema
        self._streams = streams
        self.rows = sum(stream.rows for stream in streams)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """See `Stream.batches`."""
        for stream in self._streams:
            yield from stream.batches()


class SpilledTable(Stream):
    """Rows in sealed files of one run.

    Parameters
    ----------
    source
        Anything that streams Arrow data; it is read once, now.
    folder
        Where the files go; it exists, and nobody else writes there.

    Raises
    ------
    StorageFull
        There is no space left.
    """

    def __init__(self, source: Any, folder: Path) -> None:
        key, version = secrets.token_bytes(32), secrets.token_hex(16)
        self._folder = folder / version
        batches = as_record_batches(source, target_bytes=SPILL_BYTES)
        sealer = TableSealer(table=_TABLE, schema=batches.schema, table_key=key, version_id=version)
        try:
            self._folder.mkdir()
            for number, batch in enumerate(batches):
                (self._folder / str(number)).write_bytes(sealer.seal(number, batch))
        except OSError as error:
            self.delete()
            raise StorageFull(
                f"rows that do not fit in memory can't be written: {error.strerror}",
                hint="give the enclave more space, or set a larger memory_limit_bytes",
            ) from None
        self._manifest = sealer.finish().manifest
        self._keys = {name: derive_column_key(key, version, name) for name in batches.schema.names}
        self.schema = batches.schema
        self.rows = self._manifest.rows

    def batches(self) -> Iterator[pa.RecordBatch]:
        """See `Stream.batches`.

        Raises
        ------
        SealBroken
            A file is not what was written.
        """
        return iter_batches(self._manifest, self._keys, self._fetch)

    def _fetch(self, name: str, start: int, stop: int) -> bytes:
        try:
            with (self._folder / name).open("rb") as file:
                file.seek(start)
                return file.read(stop - start)
        except OSError as error:
            raise SealBroken("a file of rows that do not fit in memory is gone") from error

    def delete(self) -> None:
        """Delete the files; without the key they were noise already."""
        if self._folder.exists():
            for path in self._folder.iterdir():
                path.unlink()
            self._folder.rmdir()
