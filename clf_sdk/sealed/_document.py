"""Documents: JSON that is sealed whole (docs/protocol.md §10.3)."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from cryptography.cobblestone import Cobblestone256Encryptor

from clf_sdk.errors import SealBroken
from clf_sdk.keys import derive_document_key
from clf_sdk.protocol import canonical_json, parse_json
from clf_sdk.sealed._cipher import decrypt_into, document_context, plaintext_size


def seal_document(
    document: Any, *, output: str, output_key: bytes, version_id: str
) -> tuple[bytes, str]:
    """Seal a JSON value.

    Returns
    -------
    tuple
        The ciphertext, and the document's version: the SHA-256 of the ciphertext, hex.
    """
    key = derive_document_key(output_key, version_id)
    encryptor = Cobblestone256Encryptor(key, document_context(output, version_id))
    sealed = encryptor.update(canonical_json(document)) + encryptor.finalize()
    return sealed, hashlib.sha256(sealed).hexdigest()


def open_document(
    sealed: bytes, *, output: str, output_key: bytes, version_id: str, expected_version: str
) -> Any:
    """Open a sealed JSON value.

    Raises
    ------
    SealBroken
        Not the document of this version, or another key.
    """
    if not hmac.compare_digest(hashlib.sha256(sealed).hexdigest(), expected_version):
        raise SealBroken(f"the document {output!r} is not of the version that was named")
    plaintext = bytearray(plaintext_size(len(sealed)))
    key = derive_document_key(output_key, version_id)
    context = document_context(output, version_id)
    decrypt_into(key, context, sealed, memoryview(plaintext), what=f"the document {output!r}")
    return parse_json(bytes(plaintext), what="document")
