"""The manifest of a table version: what there is, how long it is, and its digests (§4.3)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import pyarrow as pa
from cryptography.cobblestone import Cobblestone256Encryptor

from clf_sdk.errors import FormatTooNew, InvalidInput, Malformed, SealBroken, TooLarge
from clf_sdk.protocol import canonical_json, parse_json
from clf_sdk.sealed._cipher import decrypt_into, manifest_context, plaintext_size
from clf_sdk.sealed._schema import normalise_schema

PROTOCOL_VERSION = 1
MAX_ROWS_PER_GROUP = 2**31 - 1
_FIELDS = {"clf", "type", "table", "version", "schema", "columns", "rows", "row_groups"}
_GROUP_FIELDS = {"rows", "bytes", "segments"}
_SEGMENT_FIELDS = 2
_HEX32 = re.compile(r"[0-9a-f]{64}")
_MAX_INTEGER = 2**53


@dataclass(frozen=True)
class RowGroup:
    """Sizes and digests of one row-group object.

    Attributes
    ----------
    rows
        Number of rows.
    bytes
        Length of the object.
    segments
        For each column in order, length and hex BLAKE3 of its segment.
    """

    rows: int
    bytes: int
    segments: tuple[tuple[int, str], ...]

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Where each segment starts, and last where the object ends."""
        return tuple(accumulate((length for length, _ in self.segments), initial=0))


@dataclass(frozen=True)
class Manifest:
    """What a table version consists of. `version` is the dataset version that jobs name.

    Attributes
    ----------
    table, version_id
        Where it belongs.
    schema_message
        Arrow IPC schema message, as written; `schema` is what it says.
    rows
        Rows of all row groups.
    row_groups
        In order.
    """

    table: str
    version_id: str
    schema_message: bytes
    rows: int
    row_groups: tuple[RowGroup, ...]

    def __repr__(self) -> str:
        return (
            f"Manifest({self.table!r}, version {self.version[:12]}…, {self.rows:,} rows, "
            f"{len(self.schema):,} columns, {len(self.row_groups):,} row groups)"
        )

    @cached_property
    def schema(self) -> pa.Schema:
        """Arrow schema, normalised."""
        return pa.ipc.read_schema(pa.py_buffer(self.schema_message))

    @cached_property
    def canonical(self) -> bytes:
        """Canonical JSON, the bytes that are sealed and hashed."""
        return canonical_json(self.to_json())

    @cached_property
    def version(self) -> str:
        """Dataset version: hex SHA-256 of the canonical JSON."""
        return hashlib.sha256(self.canonical).hexdigest()

    @property
    def sealed_bytes(self) -> int:
        """Length of all row-group objects together."""
        return sum(group.bytes for group in self.row_groups)

    def to_json(self) -> dict[str, Any]:
        """Return the manifest document."""
        return {
            "clf": PROTOCOL_VERSION,
            "type": "manifest",
            "table": self.table,
            "version": self.version_id,
            "schema": base64.b64encode(self.schema_message).decode(),
            "columns": self.schema.names,
            "rows": self.rows,
            "row_groups": [
                {
                    "rows": group.rows,
                    "bytes": group.bytes,
                    "segments": [[length, digest] for length, digest in group.segments],
                }
                for group in self.row_groups
            ],
        }

    @classmethod
    def from_json(cls, document: Any) -> Manifest:
        """Read a manifest document strictly.

        Raises
        ------
        FormatTooNew
            Written by a later version.
        Malformed
            Unknown or missing fields, sums or columns that don't agree.
        """
        _require(isinstance(document, dict), "is not an object")
        version = document.get("clf")
        if _is_count(version) and version > PROTOCOL_VERSION:
            raise FormatTooNew(
                f"the manifest has format {version}, this version reads {PROTOCOL_VERSION}",
                hint="upgrade CLF on this side",
            )
        _require(type(version) is int and version == PROTOCOL_VERSION, "has no format version")
        _require(set(document) == _FIELDS, "has missing or unknown fields")
        _require(document["type"] == "manifest", "is another kind of document")
        table, version_id = document["table"], document["version"]
        _require(isinstance(table, str) and isinstance(version_id, str), "has no names")
        schema_message, schema = _read_schema(document["schema"])
        _require(document["columns"] == schema.names, "lists other columns than its schema")
        _require(isinstance(document["row_groups"], list), "has no row groups")
        groups = tuple(_read_group(group, len(schema)) for group in document["row_groups"])
        rows = document["rows"]
        _require(_is_count(rows), "has no row count")
        _require(rows == sum(group.rows for group in groups), "has a wrong sum of rows")
        return cls(table, version_id, schema_message, rows, groups)


def _require(holds: bool, what: str) -> None:  # noqa: FBT001 - a condition is all it takes
    if not holds:
        raise Malformed(f"the manifest {what}")


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < _MAX_INTEGER


def _read_schema(encoded: Any) -> tuple[bytes, pa.Schema]:
    _require(isinstance(encoded, str), "has no schema")
    try:
        raw = base64.b64decode(encoded, validate=True)
        schema = pa.ipc.read_schema(pa.py_buffer(raw))
        normal = normalise_schema(schema)
    except (
        binascii.Error,
        ValueError,  # also what cannot be stored, and names that are not UTF-8
        TooLarge,
        InvalidInput,
        pa.ArrowException,
        OSError,
        NotImplementedError,
    ):
        raise Malformed("the manifest's schema can't be read or can't be stored") from None
    _require(schema.equals(normal, check_metadata=True), "has a schema that is not normalised")
    return raw, schema


def _read_group(document: Any, columns: int) -> RowGroup:
    _require(
        isinstance(document, dict) and set(document) == _GROUP_FIELDS,
        "has a row group with missing or unknown fields",
    )
    rows, size, segments = document["rows"], document["bytes"], document["segments"]
    _require(_is_count(rows) and 0 < rows <= MAX_ROWS_PER_GROUP, "has an impossible row group")
    _require(isinstance(segments, list) and len(segments) == columns, "lacks segments")
    for segment in segments:
        _require(
            isinstance(segment, list)
            and len(segment) == _SEGMENT_FIELDS
            and _is_count(segment[0])
            and isinstance(segment[1], str)
            and _HEX32.fullmatch(segment[1]) is not None,
            "has a segment that is not a length and a digest",
        )
    _require(
        _is_count(size) and size == sum(segment[0] for segment in segments),
        "has a wrong sum of bytes",
    )
    return RowGroup(rows, size, tuple((segment[0], segment[1]) for segment in segments))


def seal_manifest(manifest: Manifest, manifest_key: bytes) -> bytes:
    """Encrypt a manifest to its stored form."""
    context = manifest_context(manifest.table, manifest.version_id)
    encryptor = Cobblestone256Encryptor(manifest_key, context)
    return encryptor.update(manifest.canonical) + encryptor.finalize()


def open_manifest(
    sealed: bytes,
    *,
    manifest_key: bytes,
    table: str,
    version_id: str,
    expected_version: str | None,
) -> Manifest:
    """Decrypt a manifest and check all that it says about itself.

    Parameters
    ----------
    sealed
        Stored form.
    manifest_key
        From `derive_manifest_key`.
    table, version_id
        Where it should belong.
    expected_version
        Dataset version that must come out; None only for the keeper of the table key, who has no
        other record of it.

    Raises
    ------
    SealBroken
        Changed bytes, another key, table, version id or dataset version.
    Malformed, FormatTooNew
        Authentic, but not a manifest that this version reads.
    """
    plaintext = bytearray(plaintext_size(len(sealed)))
    context = manifest_context(table, version_id)
    decrypt_into(manifest_key, context, sealed, memoryview(plaintext), what="the manifest")
    found = hashlib.sha256(plaintext).hexdigest()
    if expected_version is not None and found != expected_version:
        raise SealBroken("the manifest is authentic, but of another dataset version")
    document = parse_json(bytes(plaintext), what="manifest")
    manifest = Manifest.from_json(document)
    if (manifest.table, manifest.version_id) != (table, version_id):
        raise SealBroken("the manifest names another table or version")
    _require(manifest.canonical == plaintext, "is not in canonical form")
    return manifest
