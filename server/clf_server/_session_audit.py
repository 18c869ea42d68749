"""What the audit log keeps of sessions, granted or refused (docs/protocol.md §14.1)."""

from __future__ import annotations

from typing import Any

from clf_sdk.attestation import Evidence, VerifiedEnclave, parse_quote
from clf_sdk.errors import ClfError
from clf_sdk.protocol import Session, SessionRequest

_MOST_REASON_CHARACTERS = 500


def describe_granted(session: Session, enclave: VerifiedEnclave) -> dict[str, Any]:
    """Describe a session that is about to be granted, and what its enclave proved."""
    return {
        "session": session.session,
        "run": session.run,
        "number": session.grant.number,
        "resumed": session.grant.resumed,
        "job": session.job,
        "mrenclave": enclave.mrenclave,
        "mrsigner": enclave.mrsigner,
        "isv_prod_id": enclave.isv_prod_id,
        "isv_svn": enclave.isv_svn,
        "tcb_status": enclave.tcb_status,
        "inputs": [
            {
                "table": entry.table,
                "version": entry.version,
                "source": entry.source,
                "columns": len(entry.columns),
            }
            for entry in session.inputs
        ],
        "secrets": session.secrets,
    }


def describe_refused(
    request: SessionRequest, error: ClfError
) -> tuple[dict[str, Any], dict[str, str | None]]:
    """Describe a session that is refused: details, and the cause by which refusals are counted.

    What was offered is read from the quote and the binding; nobody verified it.
    """
    job = request.job
    details: dict[str, Any] = {
        "reason": (getattr(error, "reason", None) or error.message)[:_MOST_REASON_CHARACTERS],
        "rule": getattr(error, "rule", None),
        "job": job.digest,
        "operation": job.operation.name,
        "run": None,
        "offered": None,
    }
    cause: dict[str, str | None] = {"code": error.code, "mrenclave": None}
    try:
        evidence = Evidence.from_json(request.evidence)
        details["run"] = evidence.binding.run
        quote = parse_quote(evidence.quote)
    except ClfError:
        return details, cause  # the evidence can't be read: that is the reason already given
    details["offered"] = {
        "mrsigner": quote.mrsigner,
        "isv_prod_id": quote.isv_prod_id,
        "isv_svn": quote.isv_svn,
        "debug": quote.debug,
        "fmspc": quote.fmspc,
    }
    return details, cause | {"mrenclave": quote.mrenclave}
