"""The public identity of a person (docs/protocol.md §2)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator

from clf_sdk.protocol._document import Base64, Document, Version
from clf_sdk.protocol._keys import PublicKeyDocument

_ED25519_BYTES = 32
_GROUPS, _GROUP_DIGITS = 6, 5


def _check_signing_key(raw: bytes) -> bytes:
    if len(raw) != _ED25519_BYTES:
        raise ValueError(f"an Ed25519 public key has {_ED25519_BYTES} bytes")
    return raw


class IdentityDocument(Document):
    """Keys by which a person is known: one that signs, one to which results are sealed.

    Its digest is the identity id.
    """

    clf: Version
    type: Literal["identity"]
    signing_key: Annotated[Base64, AfterValidator(_check_signing_key)]
    hpke: PublicKeyDocument


class PrivateKeyDocument(Document):
    """A private HPKE key; a secret."""

    suite: str
    private_key: Base64

    def __repr__(self) -> str:
        return f"PrivateKeyDocument({self.suite})"

    __str__ = __repr__


class PrivateIdentityDocument(Document):
    """Both private keys of an identity; a secret."""

    clf: Version
    type: Literal["private-identity"]
    signing_key: Base64
    hpke: PrivateKeyDocument

    def __repr__(self) -> str:
        return "PrivateIdentityDocument()"

    __str__ = __repr__


def identity_fingerprint(identity_id: str) -> str:
    """Return the short form of an identity id, that two people can compare by phone.

    It is the id, read as a number, modulo 10^30: six groups of five digits.
    """
    digits = f"{int(identity_id, 16) % 10 ** (_GROUPS * _GROUP_DIGITS):030d}"
    return " ".join(
        digits[start : start + _GROUP_DIGITS] for start in range(0, len(digits), _GROUP_DIGITS)
    )
