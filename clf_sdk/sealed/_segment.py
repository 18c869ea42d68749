"""A segment: one column of one row group, sealed as one message (docs/protocol.md §4.2)."""

from __future__ import annotations

import hmac
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.utils import Buffer

from clf_sdk.errors import SealBroken, TooLarge
from clf_sdk.protocol import canonical_json
from clf_sdk.sealed._cipher import does_not_open

_SALT_BYTES = 32
_COMMITMENT_BYTES = 32
_KEY_BYTES = 32
_TAG_BYTES = 16
HEADER_BYTES = _SALT_BYTES + _COMMITMENT_BYTES
SEAL_BYTES = HEADER_BYTES + _TAG_BYTES
MOST_PLAINTEXT_BYTES = (1 << 31) - (1 << 16)  # one call of the cipher takes no more
BLOCK_BYTES = 16  # what `update_into` may need room for, beyond what it writes
_INFO = b"clf/1 segment\x00"
_NONCE = bytes(12)  # each key seals one message


def segment_context(table: str, version_id: str, column: str, row_group: int) -> bytes:
    """Return what the ciphertext of one column of one row group is bound to (step 1)."""
    return canonical_json(
        {
            "clf": 1,
            "type": "segment",
            "table": table,
            "version": version_id,
            "column": column,
            "row_group": row_group,
        }
    )


def _derive(column_key: bytes, salt: bytes, context: bytes) -> tuple[bytes, bytes]:
    """Return the key of one message, and the commitment to it (step 2)."""
    length = _KEY_BYTES + _COMMITMENT_BYTES
    hkdf = HKDF(hashes.SHA256(), length=length, salt=salt, info=_INFO + context)
    material = hkdf.derive(column_key)
    return material[:_KEY_BYTES], material[_KEY_BYTES:]


def segment_plaintext_size(sealed_bytes: int) -> int:
    """Plaintext size of a segment.

    Raises
    ------
    SealBroken
        No segment has this size.
    """
    size = sealed_bytes - SEAL_BYTES
    if not 0 <= size <= MOST_PLAINTEXT_BYTES:
        raise SealBroken("a segment has an impossible length")
    return size


class SegmentEncryptor:
    """Seals one segment, piece by piece (step 3).

    Parameters
    ----------
    column_key
        32 bytes.
    context
        From `segment_context`.

    Attributes
    ----------
    header
        What stands before the ciphertext, `HEADER_BYTES`.
    """

    def __init__(self, column_key: bytes, context: bytes) -> None:
        salt = secrets.token_bytes(_SALT_BYTES)
        key, commitment = _derive(column_key, salt, context)
        self.header = salt + commitment
        self._encryptor = Cipher(algorithms.AES(key), modes.GCM(_NONCE)).encryptor()
        self._taken = 0

    def update_into(self, plaintext: memoryview, out: memoryview) -> int:
        """Encrypt some bytes to as many; `out` has room for `BLOCK_BYTES` more.

        Raises
        ------
        TooLarge
            The segment would be longer than a segment can be.
        """
        self._taken += len(plaintext)
        if self._taken > MOST_PLAINTEXT_BYTES:
            raise TooLarge(
                "one column of one row group is larger than 2 GiB",
                hint="cut very large cells into several rows",
            )
        return self._encryptor.update_into(plaintext, out)

    def finalize(self) -> bytes:
        """Return the tag, which ends the segment."""
        return self._encryptor.finalize() + self._encryptor.tag


def open_segment_into(
    column_key: bytes, context: bytes, sealed: Buffer, out: memoryview, *, what: str
) -> None:
    """Decrypt a segment; `out` has exactly `segment_plaintext_size` bytes.

    Nothing in `out` may be used when this raises.

    Raises
    ------
    SealBroken
        Another key or context, or changed bytes.
    """
    view = memoryview(sealed)
    salt, commitment = bytes(view[:_SALT_BYTES]), bytes(view[_SALT_BYTES:HEADER_BYTES])
    key, expected = _derive(column_key, salt, context)
    try:
        if not hmac.compare_digest(commitment, expected):
            raise InvalidTag
        AESGCM(key).decrypt_into(_NONCE, view[HEADER_BYTES:], None, out)
    except (InvalidTag, ValueError) as error:
        raise does_not_open(what) from error
