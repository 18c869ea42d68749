"""Verification of a receipt, offline (docs/protocol.md §10.1)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from clf_sdk.attestation import (
    EnclavePolicy,
    Evidence,
    TrustAnchor,
    VerifiedEnclave,
    check_program,
    verify_quote,
)
from clf_sdk.errors import (
    AnchorMismatch,
    CollateralUnavailable,
    ConfigurationError,
    ReceiptInconsistent,
    ReceiptMismatch,
)
from clf_sdk.protocol import JobDocument, MeasuredProgram
from clf_sdk.receipt._consistency import check_receipt
from clf_sdk.receipt._signed import SignedReceipt
from clf_sdk.receipt._verified import VerifiedOwner, VerifiedReceipt


def verify(
    receipt: str | os.PathLike[str] | bytes,
    *,
    anchor: TrustAnchor | None = None,
    policy: EnclavePolicy | None = None,
    run: str | None = None,
    job: str | None = None,
) -> VerifiedReceipt:
    """Verify a receipt, with nothing but its file and a trust anchor.

    Each quote is verified for the time at which its owner granted the session. Steps, as in
    docs/protocol.md §10.1:

    1. The file is the canonical JSON of a DSSE envelope with exactly one signature.
    2. The signature holds under the key that the envelope names.
    3. The payload is the canonical JSON of an in-toto statement of this kind.
    4. The owners are those that the job pins, and each signed its session.
    5. Evidence and sessions are of this run and job, and bind the key that signed the receipt.
    6. The inputs are those of the job, as their owners granted them.
    7. The outputs are the subjects, for the job's recipients, under the tightest rules.
    8. Run and job are those that were asked for.
    9. The mode is the anchor's, and every quote holds under it and the policy.
    10. All quotes show one program: the one that the receipt names and the job allows.

    Parameters
    ----------
    receipt
        The file, or its bytes.
    anchor
        The root that is trusted; by default Intel's. The receipt of a simulated run holds under
        ``TrustAnchor.insecure_simulation(…)`` only.
    policy
        What the enclave must be. By default the program that the job pins, on platforms whose TCB
        status is ``UpToDate``; the answer's ``pinned_by`` says which of the two it was.
    run, job
        Run id and job digest that it must be of; by default any.

    Returns
    -------
    VerifiedReceipt
        What it proves.

    Raises
    ------
    ConfigurationError
        The file can't be read.
    Malformed, FormatTooNew, TooLarge
        It is not a receipt that this version knows.
    SignatureInvalid
        It was changed, or not signed by the key that it names.
    OwnersMismatch, ServerIdentityMismatch
        It is not signed by exactly the owners of the job.
    BindingMismatch, ReceiptInconsistent
        Its parts do not belong together.
    ReceiptMismatch
        It is of another run or job.
    AttestationError
        A quote does not hold; `AnchorMismatch` when it is under another root.
    """
    # 1. to 3. The signature holds under the key that the file names.
    signed = SignedReceipt.parse(receipt if isinstance(receipt, bytes) else _read(receipt))
    predicate = signed.predicate

    # 4. to 7. Its parts agree, and the owners signed theirs.
    evidence = check_receipt(signed)

    # 8. Run and job are those that were asked for.
    if run is not None and predicate.run != run:
        raise ReceiptMismatch(f"the receipt is of run {predicate.run[:12]}…, not {run[:12]}…")
    if job is not None and predicate.job.digest != job:
        raise ReceiptMismatch(
            f"the receipt is of job {predicate.job.digest[:12]}…, not {job[:12]}…"
        )

    # 9. The mode is the anchor's, and every quote holds under it and the policy.
    trusted = TrustAnchor.intel() if anchor is None else anchor
    if predicate.mode != trusted.mode:
        raise _wrong_mode(trusted)
    rule = _default_policy(predicate.job) if policy is None else policy
    owners = tuple(
        VerifiedOwner(
            server=owner.session.server,
            granted_at=owner.session.granted_at,
            enclave=_verify_quote(each, rule, trusted, owner.session.granted_at),
        )
        for owner, each in zip(predicate.owners, evidence, strict=True)
    )

    # 10. All quotes show one program: the one that the receipt names and the job allows.
    for verified in owners:
        if _program(verified.enclave) != predicate.program:
            raise ReceiptInconsistent("the quotes show another program than the receipt names")
        check_program(verified.enclave, predicate.job.enclave, pinned_by="job")

    pinned_by: Literal["job", "verifier"] = "job" if policy is None else "verifier"
    return VerifiedReceipt(signed=signed, pinned_by=pinned_by, owners=owners)


def _read(path: str | os.PathLike[str]) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"the receipt {path} can't be read: {error.strerror}") from error


def _wrong_mode(anchor: TrustAnchor) -> AnchorMismatch:
    if anchor.mode == "dcap":
        return AnchorMismatch(
            "this is the receipt of a simulated run: no hardware vouches for it",
            hint="to look at simulated runs, name their root: TrustAnchor.insecure_simulation(…)",
        )
    return AnchorMismatch(
        "this is the receipt of a run on hardware, the anchor is that of a simulation",
        hint="leave the anchor out to trust Intel's root",
    )


def _default_policy(job: JobDocument) -> EnclavePolicy:
    """Pin what the job pins, on platforms that are up to date."""
    return EnclavePolicy(**job.enclave.to_json())


def _verify_quote(
    evidence: Evidence, policy: EnclavePolicy, anchor: TrustAnchor, granted_at: int
) -> VerifiedEnclave:
    if evidence.collateral is None:
        raise CollateralUnavailable("the receipt lacks the collateral of a quote")
    return verify_quote(
        evidence.quote,
        evidence.collateral,
        policy=policy,
        report_data=evidence.binding.report_data,
        anchor=anchor,
        now=granted_at,
    )


def _program(enclave: VerifiedEnclave) -> MeasuredProgram:
    return MeasuredProgram(
        mrenclave=enclave.mrenclave,
        mrsigner=enclave.mrsigner,
        isv_prod_id=enclave.isv_prod_id,
        isv_svn=enclave.isv_svn,
    )
