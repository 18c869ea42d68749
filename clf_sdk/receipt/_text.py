"""A receipt in words."""

from __future__ import annotations

import datetime as dt

from clf_sdk._printable import printable
from clf_sdk.protocol import (
    MeasuredProgram,
    ReceiptInput,
    ReceiptOutput,
    ReceiptPredicate,
)
from clf_sdk.receipt._disclosure_words import output_in_words, rules_in_words


def describe(predicate: ReceiptPredicate) -> list[tuple[str, str]]:
    """Return what a receipt says as pairs of a label and a text."""
    job = predicate.job
    return [
        ("run", predicate.run),
        ("job", f"{job.name}, digest {job.digest}"),
        ("purpose", job.purpose or "not stated"),
        ("operation", job.operation.name),
        ("program", _program(predicate.program)),
        *(
            ("owner", f"{owner.session.server}, granted at {_utc(owner.session.granted_at)}")
            for owner in predicate.owners
        ),
        *(("input", _input(entry)) for entry in predicate.inputs),
        ("aligned", _aligned(predicate.aligned_rows)),
        *(("output", _output(output)) for output in predicate.outputs),
        ("rules", "; ".join(rules_in_words(predicate.disclosure))),
        *(
            ("disclosure", f"{output.name}: {line}")
            for output in predicate.outputs
            for line in output_in_words(predicate.disclosure, output.name)
        ),
    ]


def _program(program: MeasuredProgram) -> str:
    return (
        f"MRENCLAVE {program.mrenclave}, MRSIGNER {program.mrsigner}, "
        f"product {program.isv_prod_id}, svn {program.isv_svn}"
    )


def _input(entry: ReceiptInput) -> str:
    filtered = "" if entry.source is None else f" (filtered from {entry.source})"
    return (
        f"{entry.name}: table {entry.table} of {entry.server[:12]}…, version {entry.version}"
        f"{filtered}, {entry.rows:,} rows of {', '.join(entry.columns)}"
    )


def _output(output: ReceiptOutput) -> str:
    recipients = ", ".join(f"{recipient[:12]}…" for recipient in output.recipients)
    return f"{output.name}: version {output.version}, for {recipients}"


def as_text(rows: list[tuple[str, str]]) -> str:
    """Return pairs of a label and a text as lines, control characters escaped."""
    width = max(len(label) for label, _ in rows)
    return "\n".join(f"  {label:<{width}}  {printable(text)}" for label, text in rows)


def _utc(seconds: int) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _aligned(rows: int | None) -> str:
    return "not told: the results carry noise" if rows is None else f"{rows:,} rows"
