from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from clf_sdk.attestation import EnclavePolicy, parse_sigstruct
from clf_sdk.errors import DebugEnclave, Malformed, SignatureInvalid
from gramine_stand_in import make_sigstruct

MRENCLAVE = bytes(range(32))


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=3, key_size=3072)


def test_policy_pins_everything_that_identifies_the_build(key: rsa.RSAPrivateKey) -> None:
    data = make_sigstruct(key, mrenclave=MRENCLAVE, isv_prod_id=7, isv_svn=3)
    modulus = key.public_key().public_numbers().n.to_bytes(384, "little")

    policy = parse_sigstruct(data).policy()

    assert policy == EnclavePolicy(
        mrenclave=MRENCLAVE.hex(),
        mrsigner=hashlib.sha256(modulus).hexdigest(),
        isv_prod_id=7,
        min_isv_svn=3,
    )


@pytest.mark.parametrize("offset", [960, 991, 1024, 1026, 928, 944, 20, 127, 1027])
def test_changed_field_breaks_the_signature(key: rsa.RSAPrivateKey, offset: int) -> None:
    data = bytearray(make_sigstruct(key, mrenclave=MRENCLAVE))
    data[offset] ^= 1

    with pytest.raises(SignatureInvalid):
        parse_sigstruct(bytes(data))


def test_modulus_of_another_signer_is_refused(key: rsa.RSAPrivateKey) -> None:
    data = bytearray(make_sigstruct(key, mrenclave=MRENCLAVE))
    data[128:512] = bytes(384)

    with pytest.raises(SignatureInvalid):
        parse_sigstruct(bytes(data))


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda _data: b"",
        lambda data: b"\0" + data[1:],
        lambda data: data[:24] + b"\0" + data[25:],
        lambda data: data[:512] + b"\x01\x00\x01\x00" + data[516:],
        lambda _data: b"loader.log_level = 'error'\n",
    ],
)
def test_what_is_no_sigstruct_is_refused(key: rsa.RSAPrivateKey, damage: object) -> None:
    assert callable(damage)
    with pytest.raises(Malformed):
        parse_sigstruct(damage(make_sigstruct(key, mrenclave=MRENCLAVE)))


@pytest.mark.parametrize(
    ("debug", "flags_mask"), [(True, 0xFFFF_FFFF_FFFF_FFFF), (False, 0xFFFF_FFFF_FFFF_FFFD)]
)
def test_debug_build_gets_no_policy(
    key: rsa.RSAPrivateKey, *, debug: bool, flags_mask: int
) -> None:
    data = make_sigstruct(key, mrenclave=MRENCLAVE, debug=debug, flags_mask=flags_mask)

    with pytest.raises(DebugEnclave, match="debug build"):
        parse_sigstruct(data).policy()
