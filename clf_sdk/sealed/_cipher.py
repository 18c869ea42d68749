"""Cobblestone-256, for what is small, with the contexts of docs/protocol.md §4.3 and §10."""

from __future__ import annotations

from cryptography.cobblestone import Cobblestone256Decryptor
from cryptography.exceptions import InvalidTag
from cryptography.utils import Buffer

from clf_sdk.errors import SealBroken
from clf_sdk.protocol import canonical_json

_HEADER_BYTES = 56
_CHUNK_BYTES = 16_384
_TAG_BYTES = 16


def manifest_context(table: str, version_id: str) -> bytes:
    """Return what the ciphertext of a manifest is bound to."""
    return canonical_json({"clf": 1, "type": "manifest", "table": table, "version": version_id})


def document_context(output: str, version_id: str) -> bytes:
    """Return what the ciphertext of an output that is a document is bound to."""
    return canonical_json({"clf": 1, "type": "document", "output": output, "version": version_id})


def sealed_size(plaintext_bytes: int) -> int:
    """Ciphertext size: header, and a tag for every started chunk (the last may be empty)."""
    return _HEADER_BYTES + plaintext_bytes + _TAG_BYTES * (plaintext_bytes // _CHUNK_BYTES + 1)


def plaintext_size(sealed_bytes: int) -> int:
    """Plaintext size of a ciphertext.

    Raises
    ------
    SealBroken
        No plaintext has a ciphertext of this size.
    """
    body = sealed_bytes - _HEADER_BYTES
    size = body - _TAG_BYTES * -(-body // (_CHUNK_BYTES + _TAG_BYTES))
    if size < 0 or sealed_size(size) != sealed_bytes:
        raise SealBroken("the ciphertext has an impossible length")
    return size


def does_not_open(what: str) -> SealBroken:
    """Return the error of a ciphertext that does not authenticate."""
    return SealBroken(f"{what} does not open: another key, another place, or changed bytes")


def decrypt_into(
    key: bytes, context: bytes, ciphertext: Buffer, out: memoryview, *, what: str
) -> None:
    """Decrypt the whole of a ciphertext; `out` has exactly `plaintext_size` bytes.

    Nothing in `out` may be used when this raises.

    Raises
    ------
    SealBroken
        Another key or context, or changed bytes.
    """
    decryptor = Cobblestone256Decryptor(key, context)
    try:
        written = decryptor.update_into(ciphertext, out)
        tail = decryptor.finalize()
    except (InvalidTag, ValueError) as error:
        raise does_not_open(what) from error
    if written + len(tail) != len(out):
        raise SealBroken(f"{what} has another length than its ciphertext says")
    out[written:] = tail


def open_blob(key: bytes, context: bytes, ciphertext: bytes, *, what: str) -> bytes:
    """Decrypt the whole of a ciphertext.

    Raises
    ------
    SealBroken
        Another key or context, or changed bytes.
    """
    plaintext = bytearray(plaintext_size(len(ciphertext)))
    decrypt_into(key, context, ciphertext, memoryview(plaintext), what=what)
    return bytes(plaintext)
