"""The byte layout of a simulated SGX quote, version 3."""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from clf_sdk.attestation import _simulated_pki
from clf_sdk.attestation._simulated_pki import raw_signature

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

    from clf_sdk.attestation._simulated_pki import SimulatedPki

_INTEL_QE_VENDOR = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
_AUTH_DATA = bytes(range(32))


def report_body(
    *,
    attributes: bytes,
    mrenclave: bytes,
    mrsigner: bytes,
    isv_prod_id: int,
    isv_svn: int,
    report_data: bytes,
) -> bytes:
    """SGX report body, 384 bytes."""
    return struct.pack(
        "<16sI28s16s32s32x32s96xHH60x64s",
        _simulated_pki.CPU_SVN,
        0,
        bytes(28),
        attributes,
        mrenclave,
        mrsigner,
        isv_prod_id,
        isv_svn,
        report_data,
    )


def quote_tail(pki: SimulatedPki, attestation_key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return what follows the ISV signature: attestation key, QE report, auth data, chain."""
    point = attestation_key.public_key().public_bytes(
        Encoding.X962, PublicFormat.UncompressedPoint
    )[1:]
    qe_report = report_body(
        attributes=_simulated_pki.QE_ATTRIBUTES,
        mrenclave=hashlib.sha256(b"CLF simulated quoting enclave").digest(),
        mrsigner=_simulated_pki.QE_MRSIGNER,
        isv_prod_id=_simulated_pki.QE_PROD_ID,
        isv_svn=_simulated_pki.QE_SVN,
        report_data=hashlib.sha256(point + _AUTH_DATA).digest() + bytes(32),
    )
    chain = pki.pck_chain.encode()
    return b"".join(
        (
            point,
            qe_report,
            raw_signature(pki.pck.key, qe_report),
            struct.pack("<H", len(_AUTH_DATA)),
            _AUTH_DATA,
            struct.pack("<HI", 5, len(chain)),
            chain,
        )
    )


def sign_quote(report: bytes, attestation_key: ec.EllipticCurvePrivateKey, tail: bytes) -> bytes:
    """Put header, report and signature data together."""
    svns = (_simulated_pki.QE_SVN, _simulated_pki.PCE_SVN)
    header = struct.pack("<HHIHH16s20s", 3, 2, 0, *svns, _INTEL_QE_VENDOR, bytes(20))
    signature = raw_signature(attestation_key, header + report) + tail
    return header + report + struct.pack("<I", len(signature)) + signature
