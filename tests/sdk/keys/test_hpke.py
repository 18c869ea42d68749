from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from clf_sdk.errors import FormatTooNew, Malformed, SealBroken
from clf_sdk.keys import CLASSIC, HYBRID, PrivateKey, PublicKey
from clf_sdk.protocol import canonical_json

INFO = {"clf": 1, "type": "test", "run": "a"}


# -- a second implementation, from RFC 9180 and the X-Wing draft --------------------------------


def _extract(suite: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + ikm, hashlib.sha256)


def _expand(suite: bytes, prk: bytes, label: bytes, info: bytes, length: int) -> bytes:
    block = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    return hmac.digest(prk, block + b"\x01", hashlib.sha256)[:length]


def _open_single_shot(shared: bytes, kem: int, ciphertext: bytes, info: bytes) -> bytes:
    """Base mode, HKDF-SHA256, AES-256-GCM, empty aad, first message."""
    suite = b"HPKE" + kem.to_bytes(2, "big") + b"\x00\x01\x00\x02"
    context = (
        b"\x00"
        + _extract(suite, b"", b"psk_id_hash", b"")
        + _extract(suite, b"", b"info_hash", info)
    )
    secret = _extract(suite, shared, b"secret", b"")
    key = _expand(suite, secret, b"key", context, 32)
    nonce = _expand(suite, secret, b"base_nonce", context, 12)
    return AESGCM(key).decrypt(nonce, ciphertext, b"")


def _decapsulate_classic(private: bytes, enc: bytes) -> bytes:
    suite = b"KEM\x00\x20"
    key = X25519PrivateKey.from_private_bytes(private)
    shared = key.exchange(X25519PublicKey.from_public_bytes(enc))
    prk = _extract(suite, b"", b"eae_prk", shared)
    context = enc + key.public_key().public_bytes_raw()
    return _expand(suite, prk, b"shared_secret", context, 32)


def _decapsulate_hybrid(private: bytes, enc: bytes) -> bytes:
    mlkem = MLKEM768PrivateKey.from_seed_bytes(private[:64])
    x25519 = X25519PrivateKey.from_private_bytes(private[64:])
    lattice, curve = enc[:1088], enc[1088:]
    shared = mlkem.decapsulate(lattice) + x25519.exchange(X25519PublicKey.from_public_bytes(curve))
    label = b"\\.//^\\"
    own = x25519.public_key().public_bytes_raw()
    return hashlib.sha3_256(shared + curve + own + label).digest()


def test_second_implementation_of_rfc_9180_opens_what_is_sealed() -> None:
    key = PrivateKey.generate(CLASSIC)
    sealed = base64.b64decode(key.public.seal(b"secret", info=INFO)["sealed"])
    shared = _decapsulate_classic(key.private_bytes(), sealed[:32])
    assert _open_single_shot(shared, 0x20, sealed[32:], canonical_json(INFO)) == b"secret"


def test_second_implementation_of_x_wing_opens_what_is_sealed() -> None:
    key = PrivateKey.generate(HYBRID)
    sealed = base64.b64decode(key.public.seal(b"secret", info=INFO)["sealed"])
    shared = _decapsulate_hybrid(key.private_bytes(), sealed[:1120])
    assert _open_single_shot(shared, 0x647A, sealed[1120:], canonical_json(INFO)) == b"secret"


# -- our side ----------------------------------------------------------------------------------


@pytest.fixture(params=[HYBRID, CLASSIC])
def key(request: pytest.FixtureRequest) -> PrivateKey:
    return PrivateKey.generate(request.param)


def _changed(sealed: dict[str, str], position: int) -> dict[str, str]:
    raw = bytearray(base64.b64decode(sealed["sealed"]))
    raw[position] ^= 1
    return sealed | {"sealed": base64.b64encode(raw).decode()}


def test_sealed_message_opens_with_its_key_and_info(key: PrivateKey) -> None:
    public = PublicKey.from_document(key.public.to_document())
    restored = PrivateKey(key.suite, key.private_bytes())
    first, second = (public.seal(b"secret", info=INFO) for _ in range(2))
    assert first != second
    assert first["suite"] == key.suite
    assert restored.open(first, info=INFO) == restored.open(second, info=INFO) == b"secret"


def test_sealed_message_is_bound_to_info(key: PrivateKey) -> None:
    sealed = key.public.seal(b"secret", info=INFO)
    for other in (INFO | {"run": "b"}, {}, None):
        with pytest.raises(SealBroken):
            key.open(sealed, info=other)


def test_sealed_message_does_not_open_with_another_key(key: PrivateKey) -> None:
    sealed = key.public.seal(b"secret", info=INFO)
    with pytest.raises(SealBroken):
        PrivateKey.generate(key.suite).open(sealed, info=INFO)


def test_suite_of_a_message_can_not_be_exchanged(key: PrivateKey) -> None:
    sealed = key.public.seal(b"secret", info=INFO)
    other = CLASSIC if key.suite == HYBRID else HYBRID
    with pytest.raises(SealBroken):
        key.open(sealed | {"suite": other}, info=INFO)
    with pytest.raises(SealBroken):
        PrivateKey.generate(other).open(sealed, info=INFO)


@pytest.mark.parametrize("position", [0, 16, -1, -17])
def test_changed_message_does_not_open(key: PrivateKey, position: int) -> None:
    sealed = _changed(key.public.seal(b"secret", info=INFO), position)
    with pytest.raises(SealBroken):
        key.open(sealed, info=INFO)


@pytest.mark.parametrize("size", [0, 1, 16, 31, -6, -1])
def test_cut_message_does_not_open(key: PrivateKey, size: int) -> None:
    sealed = key.public.seal(b"secret", info=INFO)
    raw = base64.b64decode(sealed["sealed"])[:size]
    with pytest.raises(SealBroken):
        key.open(sealed | {"sealed": base64.b64encode(raw).decode()}, info=INFO)


def test_unknown_suite_is_too_new(key: PrivateKey) -> None:
    document = key.public.to_document() | {"suite": "mlkem1024/…"}
    with pytest.raises(FormatTooNew, match="does not know"):
        PublicKey.from_document(document)
    with pytest.raises(FormatTooNew):
        key.open(key.public.seal(b"", info=INFO) | {"suite": "mlkem1024/…"}, info=INFO)
    with pytest.raises(FormatTooNew):
        PrivateKey("mlkem1024/…", key.private_bytes())


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"suite": CLASSIC},
        {"suite": CLASSIC, "public_key": "", "more": 1},
        {"suite": CLASSIC, "public_key": 7},
        {"suite": 7, "public_key": ""},
        {"suite": CLASSIC, "public_key": "not base64!"},
        {"suite": CLASSIC, "public_key": base64.b64encode(bytes(31)).decode()},
        {"suite": CLASSIC, "public_key": base64.b64encode(bytes(33)).decode()},
        {"suite": HYBRID, "public_key": base64.b64encode(bytes(32)).decode()},
        {"suite": HYBRID, "public_key": base64.b64encode(b"\xff" * 1216).decode()},
    ],
    ids=lambda document: repr(document)[:60],
)
def test_document_that_is_no_public_key_is_malformed(document: Any) -> None:
    with pytest.raises(Malformed):
        PublicKey.from_document(document)


def test_nothing_is_sealed_to_a_point_of_low_order(key: PrivateKey) -> None:
    # Whoever encrypts to the X25519 point 0 shares that half of the secret with everybody.
    raw = key.public.raw[:-32] + bytes(32)
    public = PublicKey.from_document(
        {"suite": key.suite, "public_key": base64.b64encode(raw).decode()}
    )
    with pytest.raises(Malformed, match="can not be encrypted to"):
        public.seal(b"secret", info=INFO)


def test_private_key_of_another_length_is_malformed(key: PrivateKey) -> None:
    with pytest.raises(Malformed, match="length"):
        PrivateKey(key.suite, key.private_bytes()[:-1])


def test_repr_shows_no_secret(key: PrivateKey) -> None:
    assert repr(key) == f"PrivateKey(suite={key.suite!r})"
