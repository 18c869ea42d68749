"""Names the cause when the library refuses a quote.

The library's message names few causes ("Failed to verify certificate chain" is both a forgery and
a revoked platform). So the parts are looked at again here, only to explain: whatever is found, the
answer is no.
"""

from __future__ import annotations

import datetime as dt
from itertools import chain
from typing import TYPE_CHECKING

from cryptography import x509

from clf_sdk.attestation._chain import PARSE_ERRORS
from clf_sdk.errors import (
    AttestationError,
    CollateralExpired,
    DebugEnclave,
    PlatformRevoked,
    QuoteUnverified,
)

if TYPE_CHECKING:
    from clf_sdk.attestation._collateral import Collateral


def name_refusal(
    message: str, *, pck_chain: bytes, collateral: Collateral, now: int
) -> AttestationError:
    """Return the error that fits the library's refusal."""
    detail = message.splitlines()[0][:200] if message else "no reason given"
    start, end = collateral.window
    if not start <= now <= end:
        return _expired(now, start, end, "the collateral")
    if "Debug mode" in message:
        return DebugEnclave(
            "the enclave runs in debug mode, so its host can read its memory",
            hint="build the enclave with sgx.debug = false",
        )
    if "Revoked" in message:
        return _revoked("the TCB level of the platform")
    try:
        if found := _fault_of_certificates(pck_chain, collateral, now):
            return found
    except PARSE_ERRORS:
        detail += "; a certificate can't be read"
    return QuoteUnverified(
        f"a signature or certificate chain does not hold ({detail})",
        hint="quote and collateral must be unchanged and belong to the same platform",
    )


def _fault_of_certificates(
    pck_chain: bytes, collateral: Collateral, now: int
) -> AttestationError | None:
    certificates = _certificates(pck_chain, collateral)
    revoked = _revoked_serials(collateral)
    if any(cert.serial_number in revoked for cert in certificates):
        return _revoked("a certificate of the platform")
    for cert in certificates:
        start = int(cert.not_valid_before_utc.timestamp())
        end = int(cert.not_valid_after_utc.timestamp())
        if not start <= now <= end:
            return _expired(now, start, end, "a certificate of the platform")
    return None


def _revoked(what: str) -> PlatformRevoked:
    return PlatformRevoked(
        f"{what} is revoked", hint="no policy can allow it: the machine must leave service"
    )


def _certificates(pck_chain: bytes, collateral: Collateral) -> list[x509.Certificate]:
    chains = (
        pck_chain,
        collateral.pck_crl_issuer_chain.encode(),
        collateral.tcb_info_issuer_chain.encode(),
        collateral.qe_identity_issuer_chain.encode(),
    )
    return list(chain.from_iterable(x509.load_pem_x509_certificates(pem) for pem in chains))


def _revoked_serials(collateral: Collateral) -> set[int]:
    crls = (collateral.root_ca_crl, collateral.pck_crl)
    return {
        entry.serial_number for crl in crls for entry in x509.load_der_x509_crl(bytes.fromhex(crl))
    }


def _expired(now: int, start: int, end: int, what: str) -> CollateralExpired:
    moment, first, last = (
        dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        for seconds in (now, start, end)
    )
    return CollateralExpired(
        f"{what} is valid from {first} to {last}, the time of verification is {moment}",
        hint="fetch fresh collateral, and check the clock of the verifying machine",
    )
