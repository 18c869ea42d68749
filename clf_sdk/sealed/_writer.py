"""Sealing: row groups in, ciphertext objects and a manifest out (docs/protocol.md §4)."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
from blake3 import blake3

from clf_sdk.errors import InvalidInput, TooLarge
from clf_sdk.keys import derive_column_key, derive_manifest_key
from clf_sdk.sealed._area import map_memory
from clf_sdk.sealed._manifest import MAX_ROWS_PER_GROUP, Manifest, RowGroup, seal_manifest
from clf_sdk.sealed._schema import normalise_schema
from clf_sdk.sealed._segment import BLOCK_BYTES, SegmentEncryptor, segment_context

if TYPE_CHECKING:
    from cryptography.utils import Buffer

_IPC = pa.ipc.IpcWriteOptions(compression=None, use_threads=False)
_SEGMENT_OVERHEAD_BYTES = 4096  # of Arrow's stream and of the seal, about


@dataclass(frozen=True)
class SealedManifest:
    """A finished table version.

    Attributes
    ----------
    manifest
        What it consists of.
    sealed
        The manifest's stored form.
    version
        Dataset version, hex.
    """

    manifest: Manifest
    sealed: bytes
    version: str

    def __repr__(self) -> str:
        return f"SealedManifest({self.manifest!r})"


class _Output:
    """One growing buffer for ciphertext, kept from row group to row group of a thread.

    Touching fresh memory costs more than the cipher does.
    """

    def __init__(self) -> None:
        self._view = memoryview(b"")
        self.position = 0

    def begin(self, expected: int) -> None:
        """Empty it, and make room for so many bytes: to grow is to copy, and to touch new pages."""
        self.position = 0
        if expected > len(self._view):
            self._view = map_memory(expected)

    def room(self, size: int) -> memoryview:
        needed = self.position + size
        if needed > len(self._view):
            # Not resized in place: the caller may still hold a view of the old one.
            grown = map_memory(needed + needed // 4)
            grown[: self.position] = self._view[: self.position]
            self._view = grown
        return self._view[self.position :]

    def append(self, data: bytes) -> None:
        self.room(len(data))[: len(data)] = data
        self.position += len(data)

    def since(self, start: int) -> memoryview:
        return self._view[start : self.position]


class _Segment:
    """File object that encrypts what Arrow's IPC writer writes, straight from its buffers."""

    closed = False

    def __init__(self, output: _Output, key: bytes, context: bytes) -> None:
        self._output = output
        self._encryptor = SegmentEncryptor(key, context)
        self._written = 0
        output.append(self._encryptor.header)

    def write(self, data: Buffer) -> int:
        view = memoryview(data).cast("B")
        room = self._output.room(len(view) + BLOCK_BYTES)
        self._output.position += self._encryptor.update_into(view, room)
        self._written += len(view)
        return len(view)

    def tell(self) -> int:
        return self._written

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Arrow closes what it writes to; `finish` ends the segment."""

    def finish(self) -> None:
        self._output.append(self._encryptor.finalize())


class TableSealer:
    """Seals one table version, row group by row group; the caller stores the objects.

    Several threads may seal row groups of it at the same time.

    Parameters
    ----------
    table
        Name of the table.
    schema
        As `normalise_schema` returns it.
    table_key
        32 random bytes, for this version alone.
    version_id
        16 random bytes, hex.
    """

    def __init__(self, *, table: str, schema: pa.Schema, table_key: bytes, version_id: str) -> None:
        if not normalise_schema(schema).equals(schema, check_metadata=True):
            raise InvalidInput("the schema is not normalised", hint="use normalise_schema")
        self._table = table
        self._schema = schema
        self._version_id = version_id
        self._keys = [derive_column_key(table_key, version_id, name) for name in schema.names]
        self._manifest_key = derive_manifest_key(table_key, version_id)
        self._names: list[str] = schema.names
        self._column_schemas = [pa.schema([field]) for field in schema]
        self._row_groups: dict[int, RowGroup | None] = {}  # None while it is sealed
        self._lock = threading.Lock()
        self._local = threading.local()
        self._finished = False

    def _output(self, expected: int) -> _Output:
        """Return this thread's buffer, empty."""
        output: _Output | None = getattr(self._local, "output", None)
        if output is None:
            output = self._local.output = _Output()
        output.begin(expected)
        return output

    def _segment(
        self, output: _Output, row_group: int, column: int, array: pa.Array
    ) -> tuple[int, str]:
        start = output.position
        context = segment_context(self._table, self._version_id, self._names[column], row_group)
        segment = _Segment(output, self._keys[column], context)
        schema = self._column_schemas[column]
        file = pa.PythonFile(segment, mode="w")
        with pa.ipc.new_stream(file, schema, options=_IPC) as stream:
            stream.write_batch(pa.RecordBatch.from_arrays([array], schema=schema))
        segment.finish()
        sealed = output.since(start)
        return len(sealed), blake3(sealed).hexdigest()

    def seal(self, number: int, batch: pa.RecordBatch) -> memoryview:
        """Seal one batch as a row group.

        Parameters
        ----------
        number
            Which row group it is, from 0; each is sealed once, and none is left out in the end.
        batch
            Of the sealer's schema, from `normalise_batch`; not empty.

        Returns
        -------
        memoryview
            The row-group object, valid until this thread's next call: its buffer is used again.
        """
        if not batch.schema.equals(self._schema, check_metadata=True):
            raise InvalidInput("the batch has another schema than its table")
        if not batch.num_rows:
            raise InvalidInput("a row group has at least one row")
        if batch.num_rows > MAX_ROWS_PER_GROUP:
            raise TooLarge(f"a row group holds at most {MAX_ROWS_PER_GROUP:,} rows")
        with self._lock:
            if self._finished or number in self._row_groups:
                # Two plaintexts under one context: a reader could be given either.
                raise RuntimeError(f"row group {number} was sealed already")
            self._row_groups[number] = None
        output = self._output(batch.nbytes + _SEGMENT_OVERHEAD_BYTES * batch.num_columns)
        segments = tuple(
            self._segment(output, number, i, array) for i, array in enumerate(batch.columns)
        )
        sealed = output.since(0)
        with self._lock:
            self._row_groups[number] = RowGroup(batch.num_rows, len(sealed), segments)
        return sealed

    def finish(self) -> SealedManifest:
        """Make and seal the manifest, when all row groups are sealed. Nothing can follow it."""
        with self._lock:
            self._finished = True
        found = [self._row_groups.get(number) for number in range(len(self._row_groups))]
        groups = tuple(group for group in found if group is not None)
        if len(groups) != len(found):
            raise RuntimeError("a row group was left out, or is not finished")
        manifest = Manifest(
            self._table,
            self._version_id,
            self._schema.serialize().to_pybytes(),
            sum(group.rows for group in groups),
            groups,
        )
        return SealedManifest(
            manifest, seal_manifest(manifest, self._manifest_key), manifest.version
        )
