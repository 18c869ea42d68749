"""Certificates, CRLs and signed TCB documents of a simulated SGX platform, in Intel's formats.

Everything carries "INSECURE SIMULATION" in its name. Certificates are valid for ten years, CRLs,
TCB info and QE identity for one year; afterwards a simulation is made anew.
"""

from __future__ import annotations

import datetime as dt
import json
import os
from dataclasses import dataclass
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from clf_sdk.attestation._collateral import Collateral

Key: TypeAlias = ec.EllipticCurvePrivateKey

CPU_SVN = bytes([11, 11, 2, 2, 255, 1] + [0] * 10)
PCE_SVN = 13
PCE_ID = bytes(2)
QE_MRSIGNER = bytes.fromhex("51" * 32)
QE_PROD_ID = 1
QE_SVN = 10
QE_ATTRIBUTES = b"\x15" + bytes(7) + b"\xe7" + bytes(7)

_YEAR = dt.timedelta(days=365)
_SGX_EXTENSION = "1.2.840.113741.1.13.1"


@dataclass(frozen=True)
class Authority:
    """A certificate with its private key."""

    key: Key
    certificate: x509.Certificate

    @property
    def pem(self) -> str:
        """The certificate as PEM text."""
        return self.certificate.public_bytes(Encoding.PEM).decode()


@dataclass(frozen=True)
class SimulatedPki:
    """Root, PCK CA, TCB signer and PCK leaf of one simulated platform."""

    root: Authority
    pck_ca: Authority
    tcb_signing: Authority
    pck: Authority

    @property
    def pck_chain(self) -> str:
        """PEM chain that a quote carries: leaf, PCK CA, root."""
        return self.pck.pem + self.pck_ca.pem + self.root.pem


def raw_signature(key: Key, message: bytes) -> bytes:
    """ECDSA P-256/SHA-256 signature as r ‖ s, 64 bytes."""
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def generate_pki(now: int) -> SimulatedPki:
    """Make the keys and certificates of a new platform with random FMSPC and PPID."""
    root = _issue("SGX Root CA", None, now, ca=True)
    pck_ca = _issue("SGX PCK Platform CA", root, now, ca=True)
    return SimulatedPki(
        root=root,
        pck_ca=pck_ca,
        tcb_signing=_issue("SGX TCB Signing", root, now, ca=False),
        pck=_issue(
            "SGX PCK Certificate",
            pck_ca,
            now,
            ca=False,
            sgx=_sgx_extension(ppid=os.urandom(16), fmspc=os.urandom(6)),
        ),
    )


def issue_collateral(
    pki: SimulatedPki,
    *,
    now: int,
    fmspc: bytes,
    tcb_status: str,
    advisories: tuple[str, ...],
    revoke_pck: bool,
) -> Collateral:
    """Sign collateral that gives the platform a TCB status, valid for one year from ``now``."""
    dates = {"issueDate": _iso(_time(now)), "nextUpdate": _iso(_time(now) + _YEAR)}
    tcb = {
        "sgxtcbcomponents": [{"svn": svn} for svn in CPU_SVN],
        "pcesvn": PCE_SVN,
    }
    level = {"tcb": tcb, "tcbDate": dates["issueDate"], "tcbStatus": tcb_status}
    if advisories:
        level["advisoryIDs"] = list(advisories)
    tcb_info = _compact(
        {
            "id": "SGX",
            "version": 3,
            **dates,
            "fmspc": fmspc.hex().upper(),
            "pceId": PCE_ID.hex(),
            "tcbType": 0,
            "tcbEvaluationDataNumber": 17,
            "tcbLevels": [level],
        }
    )
    qe_level = {"tcb": {"isvsvn": QE_SVN}, "tcbDate": dates["issueDate"], "tcbStatus": "UpToDate"}
    qe_identity = _compact(
        {
            "id": "QE",
            "version": 2,
            **dates,
            "tcbEvaluationDataNumber": 17,
            "miscselect": "00000000",
            "miscselectMask": "FFFFFFFF",
            "attributes": "11" + "00" * 15,
            "attributesMask": "FB" + "FF" * 7 + "00" * 8,
            "mrsigner": QE_MRSIGNER.hex().upper(),
            "isvprodid": QE_PROD_ID,
            "tcbLevels": [qe_level],
        }
    )
    signer = pki.tcb_signing
    return Collateral(
        pck_crl_issuer_chain=pki.pck_ca.pem + pki.root.pem,
        root_ca_crl=_crl(pki.root, now, None).hex(),
        pck_crl=_crl(pki.pck_ca, now, pki.pck.certificate if revoke_pck else None).hex(),
        tcb_info_issuer_chain=signer.pem + pki.root.pem,
        tcb_info=tcb_info,
        tcb_info_signature=raw_signature(signer.key, tcb_info.encode()).hex(),
        qe_identity_issuer_chain=signer.pem + pki.root.pem,
        qe_identity=qe_identity,
        qe_identity_signature=raw_signature(signer.key, qe_identity.encode()).hex(),
    )


def _time(now: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(now, dt.UTC)


def _iso(moment: dt.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _compact(document: object) -> str:
    return json.dumps(document, separators=(",", ":"))


def _issue(
    what: str, issuer: Authority | None, now: int, *, ca: bool, sgx: bytes | None = None
) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, f"INSECURE SIMULATION {what}"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "CLF simulated TEE"),
        ]
    )
    signing_key = issuer.key if issuer else key
    usage = x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=not ca,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_time(now))
        .not_valid_after(_time(now) + 10 * _YEAR)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()),
            critical=False,
        )
    )
    if sgx is not None:
        oid = x509.ObjectIdentifier(_SGX_EXTENSION)
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, sgx), critical=False)
    return Authority(key, builder.sign(signing_key, hashes.SHA256()))


def _crl(issuer: Authority, now: int, revoked: x509.Certificate | None) -> bytes:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(_time(now))
        .next_update(_time(now) + _YEAR)
        .add_extension(x509.CRLNumber(1), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()),
            critical=False,
        )
    )
    if revoked is not None:
        entry = (
            x509.RevokedCertificateBuilder()
            .serial_number(revoked.serial_number)
            .revocation_date(_time(now))
            .build()
        )
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(issuer.key, hashes.SHA256()).public_bytes(Encoding.DER)


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:  # noqa: PLR2004 -- DER's short form of a length
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def _entry(path: str, value: bytes) -> bytes:
    """SEQUENCE of an OID below the SGX extension's and a value."""
    # The extension's OID in DER: 1.2.840.113741.1.13.1
    prefix = bytes.fromhex("2a864886f84d010d01")
    oid = prefix + bytes(int(part) for part in path.split("."))
    return _der(0x30, _der(0x06, oid) + value)


def _integer(value: int) -> bytes:
    return _der(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _sgx_extension(*, ppid: bytes, fmspc: bytes) -> bytes:
    """Intel's certificate extension with the platform's identity and TCB."""
    components = b"".join(_entry(f"2.{i}", _integer(svn)) for i, svn in enumerate(CPU_SVN, 1))
    tcb = components + _entry("2.17", _integer(PCE_SVN)) + _entry("2.18", _der(0x04, CPU_SVN))
    return _der(
        0x30,
        _entry("1", _der(0x04, ppid))
        + _entry("2", _der(0x30, tcb))
        + _entry("3", _der(0x04, PCE_ID))
        + _entry("4", _der(0x04, fmspc))
        + _entry("5", _der(0x0A, b"\x00")),
    )
