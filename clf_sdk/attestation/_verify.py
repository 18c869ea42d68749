"""Verification of a quote: the one place that decides whether an enclave is trusted."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any

from clf_sdk.attestation import _library
from clf_sdk.attestation._chain import chain_root_key
from clf_sdk.attestation._enclave import VerifiedEnclave
from clf_sdk.attestation._quote import REPORT_DATA_BYTES, split_quote
from clf_sdk.attestation._refusal import name_refusal
from clf_sdk.errors import (
    AdvisoryRefused,
    AnchorMismatch,
    AttributesRefused,
    CollateralTooOld,
    DebugEnclave,
    InvalidInput,
    MeasurementMismatch,
    PlatformRefused,
    ProductMismatch,
    QuoteMalformed,
    ReportDataMismatch,
    SignerMismatch,
    SvnTooLow,
    TcbStatusRefused,
)

if TYPE_CHECKING:
    from clf_sdk.attestation._anchor import TrustAnchor
    from clf_sdk.attestation._collateral import Collateral
    from clf_sdk.attestation._policy import EnclavePolicy
    from clf_sdk.protocol import AllowedEnclave

_DAY_SECONDS = 86_400
_INIT, _DEBUG, _MODE64BIT, _PROVISION_KEY, _EINITTOKEN_KEY = 0x01, 0x02, 0x04, 0x10, 0x20


def verify_quote(
    quote: bytes,
    collateral: Collateral,
    *,
    policy: EnclavePolicy,
    report_data: bytes,
    anchor: TrustAnchor,
    now: int,
) -> VerifiedEnclave:
    """Verify an SGX quote and return the enclave that it proves, or raise.

    Parameters
    ----------
    quote
        SGX ECDSA quote, version 3.
    collateral
        What Intel (or the simulated root) signs about the platform.
    policy
        Which enclave is trusted.
    report_data
        The 64 bytes that the quote must carry.
    anchor
        The one root that is trusted.
    now
        Unix seconds; no clock is read.

    Raises
    ------
    AttestationError
        One subclass for each cause, in the order of the steps.

    Notes
    -----
    The steps, as docs/protocol.md §7 numbers them:

    1. The quote is an SGX ECDSA quote version 3 of exactly the length it declares.
    2. Its certificate chain ends in the anchor's root.
    3. The collateral is readable, and its chains end in the same root.
    4. Signatures, chains, CRLs, TCB info and QE identity hold at the given time.
    5. Attributes: DEBUG clear; INIT and MODE64BIT set, PROVISION_KEY and EINITTOKEN_KEY clear.
    6. Report data equals the expected bytes, in constant time.
    7. MRENCLAVE, MRSIGNER and ISV_PROD_ID equal what is pinned, ISV_SVN is at least its minimum.
    8. The TCB status is allowed, no refused advisory applies, and the collateral is not too old.
    9. The platform is on the policy's list, if it has one.

    Platforms with several packages, cached keys or SMT are not refused for that; their risks show
    in the TCB status and the advisories, which the policy decides about.
    """
    if type(now) is not int or now < 0:
        raise InvalidInput("the time of verification must be Unix seconds, an integer")
    if not isinstance(report_data, bytes) or len(report_data) != REPORT_DATA_BYTES:
        raise InvalidInput(f"the expected report data must have {REPORT_DATA_BYTES} bytes")

    # 1. The quote is an SGX ECDSA quote version 3 of exactly the length it declares.
    pck_chain = split_quote(quote)

    # 2. Its certificate chain ends in the anchor's root (by name; 4 checks the signatures).
    if chain_root_key(pck_chain, QuoteMalformed) != anchor.root_key:
        raise _other_anchor("quote", anchor)

    # 3. The collateral is readable, and its chains end in the same root.
    readable = collateral.library
    if collateral.root_keys != {anchor.root_key}:
        raise _other_anchor("collateral", anchor)

    # 4. Signatures, chains, CRLs, TCB info and QE identity hold at the given time.
    try:
        claims = _library.verify(quote, readable, root_der=anchor.root_der, now=now)
    except _library.LibraryRefused as refusal:
        raise name_refusal(
            str(refusal), pck_chain=pck_chain, collateral=collateral, now=now
        ) from refusal
    enclave = _enclave_from(claims, anchor, now)

    # 5. Attributes: DEBUG clear; INIT and MODE64BIT set, PROVISION_KEY and EINITTOKEN_KEY clear.
    _check_attributes(enclave)

    # 6. Report data equals the expected bytes, in constant time.
    if not hmac.compare_digest(bytes.fromhex(enclave.report_data), report_data):
        raise ReportDataMismatch(
            f"the quote's report data is {enclave.report_data[:16]}…, "
            f"expected {report_data.hex()[:16]}…",
            hint="the quote was made for another session, run, job or key; obtain a new one",
        )

    # 7. MRENCLAVE, MRSIGNER and ISV_PROD_ID equal what is pinned, ISV_SVN is at least its minimum.
    check_program(enclave, policy)

    # 8. The TCB status is allowed, no refused advisory applies, and the collateral is not too old.
    _check_tcb(enclave, policy)
    _check_age(collateral, policy, now)

    # 9. The platform is on the policy's list, if it has one.
    _check_platform(enclave, policy)
    return enclave


def _other_anchor(what: str, anchor: TrustAnchor) -> AnchorMismatch:
    hint = (
        "this verifier trusts Intel's root only; evidence of a simulation can't satisfy it"
        if anchor.mode == "dcap"
        else "this verifier trusts one simulated root only, not Intel's or another simulation's"
    )
    return AnchorMismatch(
        f"the {what}'s certificates end in another root than {anchor!r}", hint=hint
    )


def _enclave_from(claims: dict[str, Any], anchor: TrustAnchor, now: int) -> VerifiedEnclave:
    report, platform = claims["report"]["SgxEnclave"], claims["platform"]
    advisories = {
        *claims["tcb"]["advisory_ids"],
        *platform["tcb_level"]["advisoryIDs"],
        *claims["qe"]["tcb_level"]["advisoryIDs"],
    }
    return VerifiedEnclave(
        mrenclave=report["mr_enclave"],
        mrsigner=report["mr_signer"],
        isv_prod_id=report["isv_prod_id"],
        isv_svn=report["isv_svn"],
        attributes=report["attributes"],
        report_data=report["report_data"],
        tcb_status=claims["tcb"]["status"],
        advisories=tuple(sorted(advisories)),
        fmspc=bytes(platform["pck"]["fmspc"]).hex(),
        ppid=bytes(platform["pck"]["ppid"]).hex(),
        mode=anchor.mode,
        verified_at=now,
    )


def _check_attributes(enclave: VerifiedEnclave) -> None:
    flags = int.from_bytes(bytes.fromhex(enclave.attributes)[:8], "little")
    if flags & _DEBUG:
        raise DebugEnclave(
            "the enclave runs in debug mode, so its host can read its memory",
            hint="build the enclave with sgx.debug = false",
        )
    required, forbidden = _INIT | _MODE64BIT, _PROVISION_KEY | _EINITTOKEN_KEY
    if flags & required != required or flags & forbidden:
        raise AttributesRefused(
            f"the enclave's attribute flags are {flags:#x}: INIT and MODE64BIT must be set, "
            "PROVISION_KEY and EINITTOKEN_KEY clear",
            hint="an analysis enclave needs no provisioning keys; check its manifest",
        )


def check_program(
    enclave: VerifiedEnclave, pins: EnclavePolicy | AllowedEnclave, *, pinned_by: str = "policy"
) -> None:
    """Check that a verified enclave is the program that a policy or a job pins (step 7).

    Parameters
    ----------
    enclave
        What `verify_quote` returned.
    pins
        Measurement, or signer with product and minimum SVN; None pins nothing.
    pinned_by
        Who pins it, for the message.

    Raises
    ------
    MeasurementMismatch, SignerMismatch, ProductMismatch, SvnTooLow
        It is another program.
    """
    if pins.mrenclave is not None and enclave.mrenclave != pins.mrenclave:
        raise MeasurementMismatch(
            f"MRENCLAVE is {enclave.mrenclave[:16]}…, the {pinned_by} pins {pins.mrenclave[:16]}…",
            hint="another build of the enclave app runs; review it, then pin its measurement",
        )
    if pins.mrsigner is not None and enclave.mrsigner != pins.mrsigner:
        raise SignerMismatch(
            f"MRSIGNER is {enclave.mrsigner[:16]}…, the {pinned_by} pins {pins.mrsigner[:16]}…",
            hint="the enclave was signed with another key",
        )
    if pins.isv_prod_id is not None and enclave.isv_prod_id != pins.isv_prod_id:
        raise ProductMismatch(
            f"ISV_PROD_ID is {enclave.isv_prod_id}, the {pinned_by} pins {pins.isv_prod_id}",
            hint=f"the signer made another product; run the one that the {pinned_by} names",
        )
    if pins.min_isv_svn is not None and enclave.isv_svn < pins.min_isv_svn:
        raise SvnTooLow(
            f"ISV_SVN is {enclave.isv_svn}, the {pinned_by} demands at least {pins.min_isv_svn}",
            hint="update the enclave app",
        )


def _check_tcb(enclave: VerifiedEnclave, policy: EnclavePolicy) -> None:
    listed = ", ".join(enclave.advisories) or "no advisories"
    if enclave.tcb_status not in policy.tcb_statuses:
        raise TcbStatusRefused(
            f"the TCB status is {enclave.tcb_status} ({listed}), "
            f"the policy allows {', '.join(sorted(policy.tcb_statuses))}",
            hint="update firmware and microcode, or review the advisories and allow the status",
        )
    if refused := policy.refused_advisories.intersection(map(str.upper, enclave.advisories)):
        raise AdvisoryRefused(
            f"refused advisories apply to the platform: {', '.join(sorted(refused))}",
            hint="update firmware and microcode as the advisories say",
        )


def _check_age(collateral: Collateral, policy: EnclavePolicy, now: int) -> None:
    most = policy.max_collateral_age_days
    if most is not None and now - collateral.issued_at > most * _DAY_SECONDS:
        days = (now - collateral.issued_at) // _DAY_SECONDS
        raise CollateralTooOld(
            f"the collateral was issued {days} days ago, the policy allows {most}",
            hint="fetch fresh collateral; whoever delivers it may be holding newer one back",
        )


def _check_platform(enclave: VerifiedEnclave, policy: EnclavePolicy) -> None:
    if policy.fmspcs is not None and enclave.fmspc not in policy.fmspcs:
        raise PlatformRefused(
            f"FMSPC {enclave.fmspc} is not on the policy's list",
            hint="run on a platform type that the owner listed",
        )
    if policy.ppids is not None and enclave.ppid not in policy.ppids:
        raise PlatformRefused(
            f"PPID {enclave.ppid[:8]}… is not on the policy's list",
            hint="run on a machine that the owner listed",
        )
