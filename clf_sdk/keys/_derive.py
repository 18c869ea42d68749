"""Keys that are derived from other keys (docs/protocol.md §3.3, §4.1, §10.2, §11.7)."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
_COLUMN = b"clf/1 column\x00"
_MANIFEST = b"clf/1 manifest"
_POLICY = b"clf/1 policy"
_CONTENT = b"clf/1 content"
_DOCUMENT = b"clf/1 document"
_OUTPUT = b"clf/1 output"
_RUN = b"clf/1 run"


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


def derive_content_key(table_key: bytes, version_id: str) -> bytes:
    """Key under which one table version's content is told apart from other content, 32 bytes."""
    return _derive(table_key, version_id, _CONTENT)


def derive_document_key(output_key: bytes, version_id: str) -> bytes:
    """Key of an output that is a document, 32 bytes."""
    return _derive(output_key, version_id, _DOCUMENT)


def derive_output_key(base: bytes, shares: Sequence[bytes], version_id: str) -> bytes:
    """Key of one output, 32 bytes: nobody has it who lacks any one of its parts.

    Parameters
    ----------
    base
        32 bytes, the part that every recipient gets with the output.
    shares
        32 bytes from each owner who reviews, in the order of the envelope's ``reviewers``.
    version_id
        The output's.
    """
    parts = [base, *shares]
    if any(len(part) != KEY_BYTES for part in parts):
        raise ValueError("each part of an output's key has 32 bytes")
    salt = bytes.fromhex(version_id)
    hkdf = HKDF(hashes.SHA256(), length=KEY_BYTES, salt=salt, info=_OUTPUT)
    return hkdf.derive(b"".join(parts))


def derive_memory_secret(identity: bytes) -> bytes:
    """Secret of a server under which it remembers people, 32 bytes.

    Parameters
    ----------
    identity
        Its private identity key, raw.
    """
    hkdf = HKDF(hashes.SHA256(), length=KEY_BYTES, salt=None, info=b"clf/1 memory")
    return hkdf.derive(identity)


def derive_person_salt(memory: bytes, table: str) -> bytes:
    """Salt of the digests of a table's people, 32 bytes."""
    info = b"clf/1 person\x00" + table.encode()
    return HKDF(hashes.SHA256(), length=KEY_BYTES, salt=None, info=info).derive(memory)


def derive_memory_key(secrets: Sequence[bytes], salt: str) -> bytes:
    """Key of what is remembered of a run, 32 bytes: nobody has it who lacks one owner's secret.

    Parameters
    ----------
    secrets
        Memory secrets of all servers of the job, in the order of their ids, 32 bytes each.
    salt
        The record's, 32 hex digits.
    """
    if any(len(secret) != KEY_BYTES for secret in secrets):
        raise ValueError("a memory secret has 32 bytes")
    hkdf = HKDF(
        hashes.SHA256(), length=KEY_BYTES, salt=bytes.fromhex(salt), info=b"clf/1 memory record"
    )
    return hkdf.derive(b"".join(secrets))


def derive_run_secret(manifest_keys: Sequence[bytes], run: str) -> bytes:
    """Source of a run's random numbers, 32 bytes: nobody has it who lacks any input's key.

    Parameters
    ----------
    manifest_keys
        Keys of the manifests of all inputs, in the order of the job, 32 bytes each.
    run
        The run's id.
    """
    if any(len(key) != KEY_BYTES for key in manifest_keys):
        raise ValueError("a manifest key has 32 bytes")
    hkdf = HKDF(hashes.SHA256(), length=KEY_BYTES, salt=bytes.fromhex(run), info=_RUN)
    return hkdf.derive(b"".join(manifest_keys))
