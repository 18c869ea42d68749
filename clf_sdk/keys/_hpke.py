"""HPKE (RFC 9180) with a suite marker on everything it makes (docs/protocol.md §5)."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from clf_sdk.errors import FormatTooNew, Malformed, SealBroken
from clf_sdk.protocol import Json, canonical_json

HYBRID = "mlkem768-x25519/hkdf-sha256/aes-256-gcm"
CLASSIC = "x25519/hkdf-sha256/aes-256-gcm"

_SUITES = {
    HYBRID: hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM),
    CLASSIC: hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM),
}
_X25519_BYTES = 32
_MLKEM768_PUBLIC_BYTES = 1184
_MLKEM768_SEED_BYTES = 64
_PUBLIC_BYTES = {HYBRID: _MLKEM768_PUBLIC_BYTES + _X25519_BYTES, CLASSIC: _X25519_BYTES}
_PRIVATE_BYTES = {HYBRID: _MLKEM768_SEED_BYTES + _X25519_BYTES, CLASSIC: _X25519_BYTES}

_Public: TypeAlias = hpke.MLKEM768X25519PublicKey | X25519PublicKey
_Private: TypeAlias = hpke.MLKEM768X25519PrivateKey | X25519PrivateKey


def _fields(document: Any, field: str, sizes: dict[str, int] | None) -> tuple[str, bytes]:
    """Suite marker and bytes of a public key document or a sealed message."""
    if not isinstance(document, dict) or set(document) != {"suite", field}:
        raise Malformed(f'expected an object with "suite" and "{field}"')
    suite, encoded = document["suite"], document[field]
    if not isinstance(suite, str) or not isinstance(encoded, str):
        raise Malformed(f'"suite" and "{field}" must be text')
    if suite not in _SUITES:
        raise FormatTooNew(
            "the key uses an HPKE suite that this version does not know",
            hint="upgrade CLF on this side",
        )
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed(f'"{field}" is not Base64') from error
    if sizes is not None and len(raw) != sizes[suite]:
        raise Malformed(f'"{field}" has {len(raw)} bytes, its suite needs {sizes[suite]}')
    return suite, raw


def _load_public(suite: str, raw: bytes) -> _Public:
    x25519 = X25519PublicKey.from_public_bytes(raw[-_X25519_BYTES:])
    if suite == CLASSIC:
        return x25519
    try:
        mlkem = MLKEM768PublicKey.from_public_bytes(raw[:_MLKEM768_PUBLIC_BYTES])
    except ValueError as error:
        raise Malformed("the ML-KEM part of the public key is not valid") from error
    return hpke.MLKEM768X25519PublicKey(mlkem, x25519)


@dataclass(frozen=True)
class PublicKey:
    """A public HPKE key with its suite."""

    suite: str
    raw: bytes

    @classmethod
    def from_document(cls, document: Any) -> PublicKey:
        """Read a public key document.

        Raises
        ------
        FormatTooNew
            The suite is unknown.
        Malformed
            It is not a public key document.
        """
        suite, raw = _fields(document, "public_key", _PUBLIC_BYTES)
        _load_public(suite, raw)
        return cls(suite, raw)

    def to_document(self) -> dict[str, str]:
        """Return ``{"suite": …, "public_key": …}``."""
        return {"suite": self.suite, "public_key": base64.b64encode(self.raw).decode()}

    def seal(self, plaintext: bytes, *, info: Json) -> dict[str, str]:
        """Encrypt to the holder of the private key.

        Parameters
        ----------
        plaintext
            What only the holder may read.
        info
            Document that the message is bound to; opening needs the same one.

        Raises
        ------
        Malformed
            The key is a point of low order, with which nothing can be kept secret.
        """
        context = canonical_json(info)
        try:
            sealed = _SUITES[self.suite].encrypt(
                plaintext, _load_public(self.suite, self.raw), context
            )
        except ValueError as error:
            raise Malformed("the public key can not be encrypted to") from error
        return {"suite": self.suite, "sealed": base64.b64encode(sealed).decode()}


class PrivateKey:
    """A private HPKE key. Its repr shows the suite only."""

    def __init__(self, suite: str, raw: bytes) -> None:
        if suite not in _SUITES:
            raise FormatTooNew("unknown HPKE suite", hint="upgrade CLF on this side")
        if len(raw) != _PRIVATE_BYTES[suite]:
            raise Malformed("the private key has the wrong length")
        x25519 = X25519PrivateKey.from_private_bytes(raw[-_X25519_BYTES:])
        self._key: _Private = x25519
        public = x25519.public_key().public_bytes_raw()
        if suite == HYBRID:
            mlkem = MLKEM768PrivateKey.from_seed_bytes(raw[:_MLKEM768_SEED_BYTES])
            self._key = hpke.MLKEM768X25519PrivateKey(mlkem, x25519)
            public = mlkem.public_key().public_bytes_raw() + public
        self._raw = raw
        self.suite = suite
        self.public = PublicKey(suite, public)

    def __repr__(self) -> str:
        return f"PrivateKey(suite={self.suite!r})"

    @classmethod
    def generate(cls, suite: str = HYBRID) -> PrivateKey:
        """Make a fresh key."""
        raw = X25519PrivateKey.generate().private_bytes_raw()
        if suite == HYBRID:
            raw = MLKEM768PrivateKey.generate().private_bytes_raw() + raw
        return cls(suite, raw)

    def private_bytes(self) -> bytes:
        """Return the secret: for the hybrid suite ML-KEM seed ‖ X25519 key."""
        return self._raw

    def open(self, sealed: Any, *, info: Json) -> bytes:
        """Decrypt a sealed message.

        Raises
        ------
        SealBroken
            It was made for another key, bound to another document, or changed.
        """
        suite, ciphertext = _fields(sealed, "sealed", None)
        if suite != self.suite:
            raise SealBroken("the message was sealed with another HPKE suite than this key's")
        try:
            return _SUITES[suite].decrypt(ciphertext, self._key, canonical_json(info))
        except (InvalidTag, ValueError) as error:
            raise SealBroken(
                "the sealed message does not open: another key, another context, or changed bytes"
            ) from error
