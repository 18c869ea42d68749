from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pytest

from clf_sdk.keys import derive_column_key, derive_manifest_key
from clf_sdk.sealed import (
    Manifest,
    RowGroupReader,
    TableSealer,
    as_record_batches,
    open_manifest,
    open_table,
)
from clf_sdk.sealed._segment import (
    open_segment_into,
    segment_context,
    segment_plaintext_size,
)

TABLE_KEY = bytes(range(32))
VERSION_ID = "0123456789abcdef" * 2


@dataclass
class Sealed:
    """A table version in memory, with everything that opens it."""

    manifest: Manifest
    sealed_manifest: bytes
    version: str
    objects: dict[str, bytes]
    table: str = "plans"
    version_id: str = VERSION_ID
    table_key: bytes = TABLE_KEY
    fetched: list[tuple[str, int, int]] = field(default_factory=list)

    def keys(self, columns: Sequence[str] | None = None) -> dict[str, bytes]:
        names = self.manifest.schema.names if columns is None else columns
        return {name: derive_column_key(self.table_key, self.version_id, name) for name in names}

    @property
    def manifest_key(self) -> bytes:
        return derive_manifest_key(self.table_key, self.version_id)

    def fetch(self, name: str, start: int, stop: int) -> bytes:
        self.fetched.append((name, start, stop))
        return self.objects[name][start:stop]

    def open_manifest(self, sealed: bytes | None = None, **changed: Any) -> Manifest:
        arguments = {
            "manifest_key": self.manifest_key,
            "table": self.table,
            "version_id": self.version_id,
            "expected_version": self.version,
        }
        return open_manifest(
            self.sealed_manifest if sealed is None else sealed, **(arguments | changed)
        )

    def open(self, columns: Sequence[str] | None = None) -> pa.Table:
        return open_table(self.open_manifest(), self.keys(columns), self.fetch, columns)

    def reader(self) -> RowGroupReader:
        return RowGroupReader(self.manifest, self.keys())

    def segment(self, row_group: int, column: str) -> bytes:
        position = self.manifest.schema.names.index(column)
        offsets = self.manifest.row_groups[row_group].offsets
        return self.objects[str(row_group)][offsets[position] : offsets[position + 1]]

    def plaintexts(self) -> list[bytes]:
        found = []
        for number in range(len(self.manifest.row_groups)):
            for name, key in self.keys().items():
                context = segment_context(self.table, self.version_id, name, number)
                segment = self.segment(number, name)
                plaintext = bytearray(segment_plaintext_size(len(segment)))
                open_segment_into(key, context, segment, memoryview(plaintext), what=name)
                found.append(bytes(plaintext))
        return found


def seal_source(
    source: Any,
    *,
    table: str = "plans",
    table_key: bytes = TABLE_KEY,
    version_id: str = VERSION_ID,
    **options: Any,
) -> Sealed:
    batches = as_record_batches(source, **options)
    sealer = TableSealer(
        table=table,
        schema=batches.schema,
        table_key=table_key,
        version_id=version_id,
    )
    objects = {str(i): bytes(sealer.seal(i, batch)) for i, batch in enumerate(batches)}
    done = sealer.finish()
    return Sealed(
        done.manifest,
        done.sealed,
        done.version,
        objects,
        table,
        version_id,
        table_key,
    )


@pytest.fixture
def seal() -> Callable[..., Sealed]:
    return seal_source
