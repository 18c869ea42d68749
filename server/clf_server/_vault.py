"""Table keys at rest and in use: the one place where wrapped keys are opened."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import sqlalchemy as sa

from clf_sdk.keys import (
    KEY_BYTES,
    derive_column_key,
    derive_content_key,
    derive_manifest_key,
    derive_policy_key,
)
from clf_sdk.protocol import MOCK, InputKeys, TableMock
from clf_sdk.sealed import Manifest, open_document, open_manifest
from clf_server._keks import KekRetired, Keks
from clf_server._metadata import Version
from clf_server._objects import ObjectStore

_T = TypeVar("_T")

MANIFEST_NAME = "manifest"
DOCUMENT_NAME = "document"
_MOST_KEPT, _MOST_KEPT_BYTES = 64, 256 << 10


def _table_context(table: str, version_id: str) -> dict[str, Any]:
    return {"clf": 1, "type": "table-key", "table": table, "version": version_id}


def _context_of(version: Version) -> dict[str, Any]:
    """Return what a version's key is bound to.

    For a derived version that is also what it was derived from and how: else whoever can write to
    the database could pass the whole table, or other rows, off as what a filter has kept.
    """
    context = _table_context(version.table_name, version.version_id)
    if version.derived_from is None and version.derivation is None:
        return context
    return context | {"derived_from": version.derived_from, "derivation": version.derivation}


class Vault:
    """Makes, wraps and opens the keys of tables."""

    def __init__(self, keks: Keks, objects: ObjectStore) -> None:
        self._keks = keks
        self._objects = objects
        self._manifests: OrderedDict[Version, Manifest] = OrderedDict()
        self._lock = threading.Lock()

    def new_key(self) -> bytes:
        """Return 32 fresh random bytes."""
        return secrets.token_bytes(KEY_BYTES)

    def wrap_table_key(self, key: bytes, *, table: str, version_id: str) -> str:
        """Wrap the key of a table version."""
        return self._keks.wrap(key, _table_context(table, version_id))

    def with_key(self, version: Version, key: bytes) -> Version:
        """Return a version that has its key, wrapped, in the place of any that it had."""
        return replace(version, table_key=self._keks.wrap(key, _context_of(version)))

    def unwrap_table_key(self, wrapped: str, *, table: str, version_id: str) -> bytes:
        """Open the wrapped key of a version that is not stored yet."""
        return self._keks.unwrap(wrapped, _table_context(table, version_id))

    def storing(
        self, version: Version, key: bytes, store: Callable[[sa.Connection, Version], _T]
    ) -> _T:
        """Store a version with its wrapped key, in one transaction; return what ``store`` does.

        When a rotation ended between wrapping and storing, the key is wrapped again first: else the
        version could never be opened.
        """
        while True:
            try:
                with self._keks.metadata.transaction() as connection:
                    self._keks.check_alive(connection, version.table_key)
                    return store(connection, version)
            except KekRetired:
                version = self.with_key(version, key)

    def rewrapped(self, version: Version) -> str:
        """Wrap the key of a version anew, under the current key-encryption key."""
        return self.with_key(version, self._table_key(version)).table_key

    def _table_key(self, version: Version) -> bytes:
        return self._keks.unwrap(version.table_key, _context_of(version))

    def policy_key(self, version: Version) -> bytes:
        """Derive the key under which the policy of a table's version is authenticated."""
        return derive_policy_key(self._table_key(version), version.version_id)

    def content_key(self, version: Version) -> bytes:
        """Derive the key under which a version's content is tagged."""
        return derive_content_key(self._table_key(version), version.version_id)

    def manifest(self, version: Version) -> Manifest:
        """Open the manifest of a version. It holds no values, so the last small ones are kept."""
        with self._lock:
            if version in self._manifests:
                self._manifests.move_to_end(version)
                return self._manifests[version]
        manifest = self.read_manifest(version)
        if version.manifest_bytes <= _MOST_KEPT_BYTES:
            with self._lock:
                self._manifests[version] = manifest
                while len(self._manifests) > _MOST_KEPT:
                    self._manifests.popitem(last=False)
        return manifest

    def read_manifest(self, version: Version) -> Manifest:
        """Open the manifest of a version as it lies in the store now."""
        return open_manifest(
            self._objects.read(version.version_id, MANIFEST_NAME),
            manifest_key=derive_manifest_key(self._table_key(version), version.version_id),
            table=version.table_name,
            version_id=version.version_id,
            expected_version=version.version,
        )

    def mock(self, version: Version) -> TableMock | None:
        """Open the mock of a version; None where its owner shares none."""
        if DOCUMENT_NAME not in self._objects.sizes(version.version_id):
            return None
        sealed = self._objects.read(version.version_id, DOCUMENT_NAME)
        opened = open_document(
            sealed,
            output=MOCK,
            output_key=self._table_key(version),
            version_id=version.version_id,
            expected_version=hashlib.sha256(sealed).hexdigest(),
        )
        return TableMock.parse(opened)

    def release(self, version: Version, columns: list[str]) -> InputKeys:
        """Derive the manifest key and the keys of the given columns, and no others."""
        key = self._table_key(version)
        return InputKeys(
            manifest_key=derive_manifest_key(key, version.version_id),
            columns={
                column: derive_column_key(key, version.version_id, column) for column in columns
            },
        )
