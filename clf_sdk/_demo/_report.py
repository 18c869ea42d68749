"""How the demonstration tells what it found."""

from __future__ import annotations

from typing import Any

from clf_sdk._demo._parts import rows_of
from clf_sdk._demo._run import DemoOutcome
from clf_sdk._job_words import moment


def as_json(outcome: DemoOutcome) -> dict[str, Any]:
    """Return the outcome as one JSON object."""
    return {
        "mode": outcome.result.mode,
        "receipt_verified": outcome.receipt.digest == outcome.result.receipt.digest,
        "owners": list(outcome.owners),
        "digest": outcome.result.job,
        "approvals": [
            owner for owner, status in outcome.approvals.items() if status.state == "approved"
        ],
        "released_by": list(outcome.released_by),
        "server_pids": list(outcome.server_pids),
        "enclave_pid": outcome.enclave_pid,
        "scenario": outcome.scenario.name,
        "rows": outcome.receipt.aligned_rows,
        "coefficients": outcome.joint,
        "reference": dict(outcome.reference),
        "max_abs_difference": outcome.max_abs_difference,
        "seconds": round(outcome.timings["total"], 3),
        "timings": {stage: round(seconds, 3) for stage, seconds in outcome.timings.items()},
    }


def _likelihood(fit: dict[str, Any]) -> str:
    found = fit.get("log_likelihood")
    return "" if found is None else f", log-likelihood {found:.2f}"


def as_text(outcome: DemoOutcome) -> str:
    """Return the outcome as a page for people."""
    lines = [outcome.scenario.title, ""]
    lines += outcome.scenario.page(outcome.result.outputs, outcome.reference)
    fit = rows_of(outcome.result.outputs, "fit")[0]
    lines += [
        "",
        (
            f"  {outcome.receipt.aligned_rows:,} people{_likelihood(fit)}; "
            f"largest difference to the pooled fit {outcome.max_abs_difference:.1e}"
        ),
        "",
        "Receipt, verified offline by an owner",
        f"  {outcome.receipt!r}",
        "",
        "Who agreed",
        f"  the job with the digest {outcome.result.job}",
        *(
            f"  {owner:<10}{status.state}: {status.runs} run, {status.runs_used} begun, "
            f"until {moment(status.expires_at)}"
            for owner, status in outcome.approvals.items()
        ),
        "",
        "Who had to look first",
        f"  before the release, fetching said: {outcome.waited_for}",
        f"  released by {', '.join(outcome.released_by)}, who saw shape, size and report",
        "",
        "Who saw what",
    ]
    for table, pid in zip(outcome.shared, outcome.server_pids, strict=True):
        owner = table.connection.name
        lines.append(
            f"  {owner:<10}(process {pid}) its own table {table.name!r}: "
            f"{', '.join(column.name for column in table.description.columns)}; "
            "stores ciphertext only"
        )
    lines += [
        f"  enclave   (process {outcome.enclave_pid}) the joined table, in its own memory",
        "  analyst   what stands above, and nothing else",
        "  host      stages and times: " + ", ".join(str(e["event"]) for e in outcome.events),
        "",
        f"  {outcome.timings['total']:.1f} s in all: "
        + ", ".join(f"{k} {v:.1f}" for k, v in outcome.timings.items() if k != "total"),
    ]
    if outcome.result.mode == "simulation":
        lines += [
            "",
            "WARNING: THIS WAS A SIMULATION. The enclave was an ordinary process, its quotes",
            "were made in software. The protocol and all checks were real; the protection was not.",
        ]
    return "\n".join(lines)
