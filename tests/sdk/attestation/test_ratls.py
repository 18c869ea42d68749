from __future__ import annotations

import base64
import datetime as dt
import hashlib
from typing import TYPE_CHECKING, Any

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from clf_sdk.attestation import evidence_from_ratls_certificate, parse_quote
from clf_sdk.errors import Malformed, QuoteMalformed, ReportDataMismatch

if TYPE_CHECKING:
    from pathlib import Path

STANDARD = "2.23.133.5.4.9"
LEGACY = "0.6.9.42.840.113741.1337.6"
KEY = ec.generate_private_key(ec.SECP384R1())
SPKI = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
SPKI_HASH = hashlib.sha256(SPKI).digest()
CLAIMS = cbor2.dumps({"pubkey-hash": cbor2.dumps([1, SPKI_HASH])})


def certificate(extensions: dict[str, bytes]) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "RATLS")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(dt.datetime(2001, 1, 1, tzinfo=dt.UTC))
        .not_valid_after(dt.datetime(2030, 1, 1, tzinfo=dt.UTC))
    )
    for oid, value in extensions.items():
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


def tagged(quote: Any, claims: Any = CLAIMS) -> bytes:
    return cbor2.dumps(cbor2.CBORTag(60000, [quote, claims]))


def bound(digest: bytes) -> bytes:
    return digest + bytes(32)


def test_gramines_own_certificate_binds_its_key_through_both_extensions(vectors: Path) -> None:
    der = (vectors / "gramine_ratls_cert_simquote.der").read_bytes()
    evidence = evidence_from_ratls_certificate(der)
    assert evidence.extensions == (STANDARD, LEGACY)
    key = x509.load_der_x509_certificate(der).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP384R1)
    assert evidence.public_key == key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert parse_quote(evidence.quote).report_data == evidence.report_data.hex()
    pem = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der)
    assert evidence_from_ratls_certificate(pem + b"-----END CERTIFICATE-----\n") == evidence


def test_swapped_key_in_gramines_certificate_is_refused(vectors: Path) -> None:
    der = (vectors / "gramine_ratls_cert_simquote.der").read_bytes()
    extensions = {
        item.oid.dotted_string: item.value.value
        for item in x509.load_der_x509_certificate(der).extensions
        if isinstance(item.value, x509.UnrecognizedExtension)
    }
    for taken in (extensions, {LEGACY: extensions[LEGACY]}, {STANDARD: extensions[STANDARD]}):
        with pytest.raises(ReportDataMismatch):
            evidence_from_ratls_certificate(certificate(taken))


@pytest.mark.parametrize("oid", [LEGACY, "1.2.840.113741.1337.6"])
def test_either_extension_alone_is_enough_and_verifies(bench: Any, oid: str) -> None:
    legacy = bench.quote(report_data=bound(SPKI_HASH))
    standard = bench.quote(report_data=bound(hashlib.sha256(CLAIMS).digest()))
    for extensions, quote in (({oid: legacy}, legacy), ({STANDARD: tagged(standard)}, standard)):
        evidence = evidence_from_ratls_certificate(certificate(extensions))
        assert (evidence.quote, evidence.collateral) == (quote, None)
        assert evidence.public_key == SPKI
        assert evidence.extensions == tuple(extensions)


def test_one_good_extension_does_not_excuse_a_bad_one(bench: Any) -> None:
    good = bench.quote(report_data=bound(hashlib.sha256(CLAIMS).digest()))
    bad = bench.quote(report_data=bound(bytes(32)))
    with pytest.raises(ReportDataMismatch):
        evidence_from_ratls_certificate(certificate({STANDARD: tagged(good), LEGACY: bad}))


def test_claims_for_another_key_are_refused(bench: Any) -> None:
    claims = cbor2.dumps({"pubkey-hash": cbor2.dumps([1, bytes(32)])})
    quote = bench.quote(report_data=bound(hashlib.sha256(claims).digest()))
    with pytest.raises(ReportDataMismatch):
        evidence_from_ratls_certificate(certificate({STANDARD: tagged(quote, claims)}))


@pytest.mark.parametrize(
    "extension",
    [
        b"",
        b"\xff",
        cbor2.dumps([b"", CLAIMS]),
        cbor2.dumps(cbor2.CBORTag(60001, [b"", CLAIMS])),
        tagged("text"),
        tagged(b"", "text"),
        tagged(b"", cbor2.dumps([])),
        tagged(b"", cbor2.dumps({"pubkey-hash": [1, SPKI_HASH]})),
        tagged(b"", cbor2.dumps({"pubkey-hash": cbor2.dumps([7, SPKI_HASH])})),
        b"\x81" * 5000,
    ],
    ids=lambda _: "form",
)
def test_evidence_of_another_form_is_malformed(extension: bytes) -> None:
    with pytest.raises(Malformed):
        evidence_from_ratls_certificate(certificate({STANDARD: extension}))


def test_extension_without_a_quote_is_refused() -> None:
    with pytest.raises(QuoteMalformed):
        evidence_from_ratls_certificate(certificate({LEGACY: b"no quote"}))


@pytest.mark.parametrize(
    "data",
    [b"", b"junk", b"-----BEGIN CERTIFICATE-----", bytes(1 << 17)],
    ids=["empty", "junk", "header", "zeros"],
)
def test_bytes_that_are_no_certificate_are_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        evidence_from_ratls_certificate(data)


def test_certificate_without_evidence_is_malformed() -> None:
    with pytest.raises(Malformed, match="no SGX evidence"):
        evidence_from_ratls_certificate(certificate({}))
