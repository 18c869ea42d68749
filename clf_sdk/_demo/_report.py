"""How the demonstration tells what it found."""

from __future__ import annotations

from typing import Any

from clf_sdk._demo._scenario import COLUMNS, DemoOutcome
from clf_sdk._job_words import moment


def as_json(outcome: DemoOutcome) -> dict[str, Any]:
    """Return the outcome as one JSON object."""
    fit = outcome.result.to_pandas("fit")
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
        "rows": int(fit["rows"].iloc[0]),
        "coefficients": outcome.coefficients,
        "reference": dict(outcome.reference),
        "max_abs_difference": outcome.max_abs_difference,
        "seconds": round(outcome.timings["total"], 3),
        "timings": {stage: round(seconds, 3) for stage, seconds in outcome.timings.items()},
    }


def as_text(outcome: DemoOutcome) -> str:
    """Return the outcome as a page for people."""
    lines = ["Doctor visits: one Poisson regression over three owners' tables", ""]
    lines.append(
        f"  {'term':<10}{'joint':>10}{'pooled':>10}{'std error':>11}{'z':>9}{'p':>8}"
        "   95 % interval"
    )
    lines.extend(
        f"  {row['term']:<10}{row['coefficient']:>10.4f}{outcome.reference[row['term']]:>10.4f}"
        f"{row['std_error']:>11.4f}{row['z']:>9.2f}{row['p']:>8.3f}"
        f"   [{row['ci_low']:.4f}, {row['ci_high']:.4f}]"
        for row in outcome.result.to_arrow("coefficients").to_pylist()
    )
    fit = outcome.result.to_pandas("fit").iloc[0]
    lines += [
        "",
        (
            f"  {int(fit['rows']):,} people, log-likelihood {fit['log_likelihood']:.2f}; "
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
            f"{', '.join(COLUMNS[owner])}; stores ciphertext only"
        )
    lines += [
        f"  enclave   (process {outcome.enclave_pid}) the joined table, in its own memory",
        "  analyst   the coefficients above, and nothing else",
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
