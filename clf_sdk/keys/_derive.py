"""Keys of one table version, derived from its table key (docs/protocol.md §4.1)."""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
_COLUMN = b"clf/1 column\x00"
_MANIFEST = b"clf/1 manifest"
_POLICY = b"clf/1 policy"


def _derive(table_key: bytes, version_id: str, info: bytes) -> bytes:
    if len(table_key) != KEY_BYTES:
        raise ValueError("a table key has 32 bytes")
    salt = bytes.fromhex(version_id)
    return HKDF(hashes.SHA256(), length=KEY_BYTES, salt=salt, info=info).derive(table_key)


def derive_column_key(table_key: bytes, version_id: str, column: str) -> bytes:
    """Key of one column in one table version, 32 bytes."""
    return _derive(table_key, version_id, _COLUMN + column.encode())


def derive_manifest_key(table_key: bytes, version_id: str) -> bytes:
    """Key of the manifest of one table version, 32 bytes."""
    return _derive(table_key, version_id, _MANIFEST)


def derive_policy_key(table_key: bytes, version_id: str) -> bytes:
    """Key under which a server authenticates the policy of one table version, 32 bytes."""
    return _derive(table_key, version_id, _POLICY)
