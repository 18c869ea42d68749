"""A key-encryption key: seals table keys at rest, each bound to what it belongs to."""

from __future__ import annotations

import base64
import os
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from clf_sdk.errors import SealBroken

KEK_BYTES = 32
_NONCE_BYTES = 12


class Kek(Protocol):
    """A key-encryption key, wherever it is kept."""

    suite: str
    """How it seals; stands before each wrapped key."""

    def seal(self, key: bytes, context: bytes) -> str:
        """Encrypt a key, bound to a context.

        Raises
        ------
        KeysUnavailable
            The key-encryption key is out of reach.
        """

    def open(self, sealed: str, context: bytes) -> bytes:
        """Decrypt a key.

        Raises
        ------
        SealBroken
            It was sealed under another key or for another context, or changed.
        KeysUnavailable
            The key-encryption key is out of reach.
        """


class AesKek:
    """A key-encryption key in this process's memory: AES-256-GCM with random nonces."""

    suite = "aes256gcm"

    def __init__(self, key: bytes) -> None:
        if len(key) != KEK_BYTES:
            raise ValueError(f"a key-encryption key has {KEK_BYTES} bytes")
        self._aead = AESGCM(key)

    def seal(self, key: bytes, context: bytes) -> str:
        """See `Kek.seal`."""
        nonce = os.urandom(_NONCE_BYTES)
        return base64.b64encode(nonce + self._aead.encrypt(nonce, key, context)).decode()

    def open(self, sealed: str, context: bytes) -> bytes:
        """See `Kek.open`."""
        try:
            raw = base64.b64decode(sealed, validate=True)
            return self._aead.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], context)
        except (InvalidTag, ValueError) as error:
            raise SealBroken(
                "a stored key does not open with this server's key-encryption key",
                hint="was the key's file replaced, or the database copied from another server?",
            ) from error
