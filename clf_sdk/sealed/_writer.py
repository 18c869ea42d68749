"""Sealing: row groups in, ciphertext objects and a manifest out (docs/protocol.md §4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
from blake3 import blake3
from cryptography.cobblestone import Cobblestone256Encryptor

from clf_sdk.errors import InvalidInput, TooLarge
from clf_sdk.keys import derive_column_key, derive_manifest_key
from clf_sdk.sealed._cipher import CHUNK_BYTES, HEADER_BYTES, TAG_BYTES, segment_context
from clf_sdk.sealed._manifest import MAX_ROWS_PER_GROUP, Manifest, RowGroup, seal_manifest
from clf_sdk.sealed._schema import normalise_schema

if TYPE_CHECKING:
    from cryptography.utils import Buffer

_IPC = pa.ipc.IpcWriteOptions(compression=None, use_threads=False)
_FIRST_OUTPUT_BYTES = 1 << 20
_COUNT_BYTES = 8


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
    """One growing buffer for ciphertext, kept from row group to row group.

    Touching fresh memory costs more than the cipher does.
    """

    def __init__(self) -> None:
        self._view = memoryview(bytearray(_FIRST_OUTPUT_BYTES))
        self.position = 0

    def room(self, size: int) -> memoryview:
        needed = self.position + size
        if needed > len(self._view):
            # Not resized in place: the caller may still hold a view of the old one.
            grown = memoryview(bytearray(needed + needed // 4))
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

    def __init__(self, output: _Output, key: bytes, context: bytes, content: blake3 | None) -> None:
        self._output = output
        self._encryptor = Cobblestone256Encryptor(key, context)
        self._content = content
        self._written = 0

    def write(self, data: Buffer) -> int:
        view = memoryview(data).cast("B")
        size = len(view)
        # At most one chunk is held back, and each chunk that comes out has a tag.
        chunks = size // CHUNK_BYTES + 2
        room = self._output.room(HEADER_BYTES + chunks * (CHUNK_BYTES + TAG_BYTES))
        self._output.position += self._encryptor.update_into(view, room)
        if self._content is not None:
            self._content.update(view)
        self._written += size
        return size

    def tell(self) -> int:
        return self._written

    def flush(self) -> None:
        """Nothing is held back for long enough to matter."""

    def close(self) -> None:
        """Arrow closes what it writes to; `finish` ends the segment."""

    def finish(self) -> None:
        self._output.append(self._encryptor.finalize())


class TableSealer:
    """Seals one table version, row group after row group; the caller stores the objects.

    Not for use by several threads at once.

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
    content_key
        32 secret bytes under which `content_digest` is made; None for no digest.
    """

    def __init__(
        self,
        *,
        table: str,
        schema: pa.Schema,
        table_key: bytes,
        version_id: str,
        content_key: bytes | None = None,
    ) -> None:
        if not normalise_schema(schema).equals(schema, check_metadata=True):
            raise InvalidInput("the schema is not normalised", hint="use normalise_schema")
        self._table = table
        self._schema = schema
        self._schema_message: bytes = schema.serialize().to_pybytes()
        self._version_id = version_id
        self._keys = [derive_column_key(table_key, version_id, name) for name in schema.names]
        self._manifest_key = derive_manifest_key(table_key, version_id)
        self._names: list[str] = schema.names
        self._column_schemas = [pa.schema([field]) for field in schema]
        self._row_groups: list[RowGroup] = []
        self._output = _Output()
        # A copy of the keyed but empty hasher for each part.
        self._hasher = None if content_key is None else blake3(key=content_key)
        self._content = self._hasher and self._hasher.copy()
        if self._hasher is not None and self._content is not None:
            schema_hasher = self._hasher.copy()
            self._content.update(schema_hasher.update(self._schema_message).digest())
        self._finished = False

    def _segment(self, column: int, array: pa.Array) -> tuple[int, str]:
        output = self._output
        start = output.position
        content = None if self._hasher is None else self._hasher.copy()
        name = self._names[column]
        context = segment_context(self._table, self._version_id, name, len(self._row_groups))
        segment = _Segment(output, self._keys[column], context, content)
        schema = self._column_schemas[column]
        file = pa.PythonFile(segment, mode="w")
        with pa.ipc.new_stream(file, schema, options=_IPC) as stream:
            stream.write_batch(pa.RecordBatch.from_arrays([array], schema=schema))
        segment.finish()
        if self._content is not None and content is not None:
            self._content.update(content.digest())
        sealed = output.since(start)
        return len(sealed), blake3(sealed).hexdigest()

    def seal(self, batch: pa.RecordBatch) -> memoryview:
        """Seal one batch as the next row group.

        Parameters
        ----------
        batch
            Of the sealer's schema, from `normalise_batch`; not empty.

        Returns
        -------
        memoryview
            The row-group object, valid until the next call: the buffer is used again.
        """
        if self._finished:
            raise RuntimeError("this table version is finished")
        if not batch.schema.equals(self._schema, check_metadata=True):
            raise InvalidInput("the batch has another schema than its table")
        if not batch.num_rows:
            raise InvalidInput("a row group has at least one row")
        if batch.num_rows > MAX_ROWS_PER_GROUP:
            raise TooLarge(f"a row group holds at most {MAX_ROWS_PER_GROUP:,} rows")
        self._output.position = 0
        segments = tuple(self._segment(i, array) for i, array in enumerate(batch.columns))
        sealed = self._output.since(0)
        self._row_groups.append(RowGroup(batch.num_rows, len(sealed), segments))
        if self._content is not None:
            self._content.update(batch.num_rows.to_bytes(_COUNT_BYTES, "little"))
        return sealed

    def finish(self) -> SealedManifest:
        """Make and seal the manifest. Nothing can be sealed afterwards."""
        self._finished = True
        groups = tuple(self._row_groups)
        rows = sum(group.rows for group in groups)
        manifest = Manifest(self._table, self._version_id, self._schema_message, rows, groups)
        return SealedManifest(
            manifest, seal_manifest(manifest, self._manifest_key), manifest.version
        )

    @property
    def content_digest(self) -> str | None:
        """Digest of the schema and all plaintext so far, hex; equal for equal row groups.

        Keyed, so that it tells nobody else whether two tables are equal: BLAKE3 of the digests of
        the schema and of each segment, and of each row group's row count, all under `content_key`.
        """
        return None if self._content is None else self._content.hexdigest()
