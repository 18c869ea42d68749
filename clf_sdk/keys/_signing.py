"""Ed25519 signatures over canonical JSON, each kind of document in a domain of its own."""

from __future__ import annotations

import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from clf_sdk.errors import SignatureInvalid
from clf_sdk.protocol import Json, canonical_json


def server_id(public_key: bytes) -> str:
    """Identity of a server: hex SHA-256 of its raw Ed25519 public key."""
    return hashlib.sha256(public_key).hexdigest()


def _message(kind: str, document: Json) -> bytes:
    return f"clf/1 {kind}".encode() + b"\x00" + canonical_json(document)


class SigningKey:
    """An Ed25519 key that signs documents. Its repr shows the public side only."""

    def __init__(self, raw: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(raw)
        self.public_bytes: bytes = self._key.public_key().public_bytes_raw()

    def __repr__(self) -> str:
        return f"SigningKey(public={self.public_bytes.hex()[:12]}…)"

    @classmethod
    def generate(cls) -> SigningKey:
        """Make a fresh key."""
        return cls(Ed25519PrivateKey.generate().private_bytes_raw())

    def private_bytes(self) -> bytes:
        """Return the 32 secret bytes."""
        return self._key.private_bytes_raw()

    def sign(self, kind: str, document: Json) -> bytes:
        """Sign ``'clf/1 ' + kind ‖ 0x00 ‖ C(document)``."""
        return self._key.sign(_message(kind, document))

    def sign_note(self, text: str) -> bytes:
        """Sign the text of a C2SP signed note, as it is.

        Its first line says what it is; none begins like the message of a document.
        """
        return self._key.sign(text.encode())


def verify_signature(public_key: bytes, kind: str, document: Json, signature: bytes) -> None:
    """Check that a signature over a document is by the holder of a key.

    Raises
    ------
    SignatureInvalid
        It is not.
    """
    try:
        key = Ed25519PublicKey.from_public_bytes(public_key)
        key.verify(signature, _message(kind, document))
    except (InvalidSignature, ValueError) as error:
        raise SignatureInvalid(f"the signature over the {kind} does not hold") from error


def verify_note(public_key: bytes, text: str, signature: bytes) -> None:
    """Check that a signature over the text of a signed note is by the holder of a key.

    Raises
    ------
    SignatureInvalid
        It is not.
    """
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, text.encode())
    except (InvalidSignature, ValueError) as error:
        raise SignatureInvalid("the signature over the note does not hold") from error
