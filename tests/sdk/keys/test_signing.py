from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from clf_sdk.errors import SignatureInvalid
from clf_sdk.keys import SigningKey, server_id, verify_signature

# RFC 8032, section 7.1, test 1.
SECRET = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")


def test_published_key_pair() -> None:
    key = SigningKey(SECRET)
    assert key.public_bytes == PUBLIC
    assert key.private_bytes() == SECRET
    assert server_id(PUBLIC) == hashlib.sha256(PUBLIC).hexdigest()


def test_signed_bytes_are_those_of_the_protocol() -> None:
    signature = SigningKey(SECRET).sign("session", {"b": 1, "a": "é"})
    message = b"clf/1 session\x00" + '{"a":"é","b":1}'.encode()
    Ed25519PublicKey.from_public_bytes(PUBLIC).verify(signature, message)


def test_signature_in_one_domain_says_nothing_in_another() -> None:
    key, document = SigningKey.generate(), {"a": 1}
    signature = key.sign("session", document)
    verify_signature(key.public_bytes, "session", document, signature)
    for kind, other in (("result", document), ("session", {"a": 2}), ("sessio", document)):
        with pytest.raises(SignatureInvalid):
            verify_signature(key.public_bytes, kind, other, signature)


def test_signature_of_another_key_or_form_does_not_hold() -> None:
    key, document = SigningKey.generate(), {"a": 1}
    signature = key.sign("session", document)
    for public, signed in (
        (SigningKey.generate().public_bytes, signature),
        (key.public_bytes, b""),
        (key.public_bytes, signature[:-1]),
        (key.public_bytes, signature + b"\0"),
        (key.public_bytes, bytes([signature[0] ^ 1]) + signature[1:]),
        (b"short", signature),
    ):
        with pytest.raises(SignatureInvalid):
            verify_signature(public, "session", document, signed)


def test_repr_shows_no_secret() -> None:
    assert SECRET.hex()[:8] not in repr(SigningKey(SECRET))
