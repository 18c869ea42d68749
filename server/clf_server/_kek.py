"""The key-encryption key: wraps table keys at rest (docs/protocol.md §4.1, design of storage)."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from clf_sdk.errors import ConfigurationError, FormatTooNew, SealBroken
from clf_sdk.protocol import canonical_json, write_private

_KEY_BYTES = 32
_NONCE_BYTES = 12
_MARKER = "clf1-aes256gcm"


class FileKek:
    """A key-encryption key in a file of mode 0600."""

    def __init__(self, path: Path) -> None:
        try:
            mode = path.stat().st_mode & 0o777
            key = path.read_bytes()
        except OSError as error:
            raise ConfigurationError(
                f"the key-encryption key {path} can't be read: {error.strerror}",
                hint="without it the tables of this server can't be opened; restore it from backup",
            ) from error
        if mode & 0o077:
            raise ConfigurationError(
                f"the key-encryption key {path} is readable by others (mode {mode:o})",
                hint=f"run `chmod 600 {path}` and consider who may have read it",
            )
        if len(key) != _KEY_BYTES:
            raise ConfigurationError(f"the key-encryption key {path} does not have 32 bytes")
        self._aead = AESGCM(key)

    @staticmethod
    def create(path: Path) -> None:
        """Write a fresh key."""
        write_private(path, AESGCM.generate_key(bit_length=256))

    def wrap(self, key: bytes, context: dict[str, Any]) -> str:
        """Encrypt a key, bound to a context document."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._aead.encrypt(nonce, key, canonical_json(context))
        return f"{_MARKER}:{base64.b64encode(nonce + sealed).decode()}"

    def unwrap(self, wrapped: str, context: dict[str, Any]) -> bytes:
        """Decrypt a wrapped key.

        Raises
        ------
        FormatTooNew
            It was wrapped by a later version.
        SealBroken
            It was wrapped under another key or for another context, or changed.
        """
        marker, _, encoded = wrapped.partition(":")
        if marker != _MARKER:
            raise FormatTooNew("a stored key was wrapped by a later version", hint="upgrade CLF")
        try:
            raw = base64.b64decode(encoded, validate=True)
            return self._aead.decrypt(
                raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], canonical_json(context)
            )
        except (InvalidTag, ValueError) as error:
            raise SealBroken(
                "a stored key does not open with this server's key-encryption key",
                hint="was kek.key replaced, or the database copied from another server?",
            ) from error
