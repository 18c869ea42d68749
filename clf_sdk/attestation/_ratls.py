"""Evidence from the RA-TLS certificates that Gramine writes.

Such a certificate carries a quote in one or two extensions, and the quote's report data binds the
certificate's public key:

- TCG DICE "tagged evidence", 2.23.133.5.4.9: CBOR tag 60000 ``[quote, claims]``, where claims is
  the CBOR of ``{"pubkey-hash": CBOR [1, SHA-256(SPKI)]}`` and report data is SHA-256(claims) ‖ 32
  zeros;
- Gramine's older one: the bare quote, report data is SHA-256(SPKI) ‖ 32 zeros.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Any

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from clf_sdk.attestation._chain import PARSE_ERRORS
from clf_sdk.attestation._quote import report_data_of, split_quote
from clf_sdk.errors import Malformed, ReportDataMismatch

STANDARD_OID = "2.23.133.5.4.9"
# Gramine wrote the DER bytes of its legacy OID so that parsers read the first form.
LEGACY_OIDS = ("0.6.9.42.840.113741.1337.6", "1.2.840.113741.1337.6")

_MAX_CERTIFICATE_BYTES = 64 << 10
_EVIDENCE_TAG = 60000
_SHA256 = 1


@dataclass(frozen=True)
class RatlsEvidence:
    """A quote from a certificate, ready for `verify_quote`. Unverified.

    Attributes
    ----------
    quote, report_data, collateral
        What `verify_quote` takes; the report data binds ``public_key``. A certificate carries no
        collateral.
    public_key
        The certificate's SubjectPublicKeyInfo, DER.
    extensions
        OIDs of the extensions that were found and agree.
    """

    quote: bytes
    report_data: bytes
    public_key: bytes
    extensions: tuple[str, ...]
    collateral: None = None


def evidence_from_ratls_certificate(certificate: bytes) -> RatlsEvidence:
    """Read the evidence of a certificate, DER or PEM.

    That the peer holds the certificate's private key is for TLS to prove, and that the quote is
    genuine for `verify_quote`. When both extensions are there, both must bind the key; the quote
    is the standard one's.

    Raises
    ------
    Malformed
        It is no certificate, or carries no evidence.
    QuoteMalformed
        What it carries is no quote.
    ReportDataMismatch
        A quote was made for another key.
    """
    parsed = _load(certificate)
    try:
        spki = parsed.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        found = {item.oid.dotted_string: item.value for item in parsed.extensions}
    except (*PARSE_ERRORS, x509.DuplicateExtension) as error:
        raise Malformed("the certificate's key or extensions can't be read") from error
    key_hash = hashlib.sha256(spki).digest()
    evidence: dict[str, tuple[bytes, bytes]] = {}
    for oid in (STANDARD_OID, *LEGACY_OIDS):
        extension = found.get(oid)
        if not isinstance(extension, x509.UnrecognizedExtension):
            continue
        quote, digest = (
            _standard(extension.value, key_hash)
            if oid == STANDARD_OID
            else (extension.value, key_hash)
        )
        split_quote(quote)
        expected = digest + bytes(32)
        if not hmac.compare_digest(report_data_of(quote), expected):
            raise ReportDataMismatch(
                f"the quote in extension {oid} was made for another key than the certificate's",
                hint="the certificate is a forgery, or was renewed without a new quote",
            )
        evidence[oid] = (quote, expected)
    if not evidence:
        raise Malformed(
            "the certificate carries no SGX evidence", hint="pass a certificate of gramine-ratls"
        )
    quote, expected = next(iter(evidence.values()))
    return RatlsEvidence(quote, expected, spki, tuple(evidence))


def _load(certificate: bytes) -> x509.Certificate:
    if len(certificate) > _MAX_CERTIFICATE_BYTES:
        raise Malformed(f"the certificate is larger than {_MAX_CERTIFICATE_BYTES} bytes")
    try:
        if certificate.lstrip().startswith(b"-----BEGIN"):
            return x509.load_pem_x509_certificate(certificate)
        return x509.load_der_x509_certificate(certificate)
    except PARSE_ERRORS as error:
        raise Malformed("the bytes are not an X.509 certificate") from error


def _cbor(data: bytes, what: str) -> Any:
    try:
        return cbor2.loads(data)
    except (cbor2.CBORDecodeError, ValueError, TypeError, RecursionError) as error:
        raise Malformed(f"the {what} is not CBOR") from error


def _standard(extension: bytes, key_hash: bytes) -> tuple[bytes, bytes]:
    """Quote and digest of the claims, after checking that the claims name the key."""
    match _cbor(extension, "evidence extension"):
        case cbor2.CBORTag(tag=60000, value=[bytes() as quote, bytes() as encoded]):
            pass
        case _:
            raise Malformed(f"the evidence is not CBOR tag {_EVIDENCE_TAG} of quote and claims")
    match _cbor(encoded, "claims"):
        case {"pubkey-hash": bytes() as encoded_hash}:
            pass
        case _:
            raise Malformed('the claims of the evidence have no "pubkey-hash"')
    match _cbor(encoded_hash, "pubkey-hash"):
        case [int() as algorithm, bytes() as claimed] if algorithm == _SHA256:
            pass
        case _:
            raise Malformed('the "pubkey-hash" of the evidence is not a SHA-256')
    if not hmac.compare_digest(claimed, key_hash):
        raise ReportDataMismatch(
            "the claims of the evidence name another key than the certificate's",
            hint="the certificate is a forgery, or was renewed without a new quote",
        )
    return quote, hashlib.sha256(encoded).digest()
