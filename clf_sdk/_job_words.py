"""A job in plain words, and what differs between two jobs: for owners who decide about it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from clf_sdk._align_words import align_in_words, prepare_in_words
from clf_sdk._printable import printable
from clf_sdk.errors import InvalidJob
from clf_sdk.protocol import JobDocument, JobInput, JobRecord, JobStatus, identity_fingerprint

_SHORT = 12
_MOST_VALUE_CHARACTERS = 200


@dataclass(frozen=True)
class Change:
    """One field that differs between two jobs.

    Attributes
    ----------
    field
        Where it stands, such as ``operation.parameters.family``.
    before, after
        Its values as JSON; None where the field is missing.
    """

    field: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        said = f"{self.field}: {_or_nothing(self.before)} → {_or_nothing(self.after)}"
        return printable(said)


def _or_nothing(value: str | None) -> str:
    if value is None:
        return "(nothing)"
    return value if len(value) <= _MOST_VALUE_CHARACTERS else f"{value[:_MOST_VALUE_CHARACTERS]}…"


def _leaves(value: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{place}.{key}" if place else key)
    elif isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        for number, inner in enumerate(value):
            named = inner.get("name", number) if isinstance(inner, dict) else number
            yield from _leaves(inner, f"{place}[{named}]")
    else:
        yield place, json.dumps(value, ensure_ascii=False)


def compare_jobs(before: JobDocument, after: JobDocument) -> tuple[Change, ...]:
    """Return every field that differs between two jobs, in the order of the later one."""
    old, new = dict(_leaves(before.to_json(), "")), dict(_leaves(after.to_json(), ""))
    fields = [*new, *(field for field in old if field not in new)]
    return tuple(
        Change(field, old.get(field), new.get(field))
        for field in fields
        if old.get(field) != new.get(field)
    )


def moment(seconds: int) -> str:
    """Return a time as people read it, in UTC."""
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%d %H:%M} UTC"


def _columns(entry: JobInput) -> str:
    return "all columns" if entry.columns is None else ", ".join(entry.columns)


def _version(entry: JobInput) -> str:
    return "its latest version" if entry.version == "latest" else f"version {entry.version[:12]}…"


def _program(job: JobDocument) -> str:
    pins = job.enclave
    said = []
    if pins.mrenclave is not None:
        said.append(f"MRENCLAVE {pins.mrenclave}")
    if pins.mrsigner is not None:
        said.append(f"signed by MRSIGNER {pins.mrsigner}")
    if pins.isv_prod_id is not None:
        said.append(f"product {pins.isv_prod_id}")
    if pins.min_isv_svn is not None:
        said.append(f"security version {pins.min_isv_svn} or later")
    return ", ".join(said)


def _outputs(job: JobDocument) -> list[str]:
    from clf_sdk.operations import parameters_class, parameters_of  # noqa: PLC0415 - for people only

    try:
        parameters = parameters_of(job)
        known = None if parameters is None else parameters.comes_out()
    except InvalidJob:  # what is asked is shown all the same, and no enclave computes it
        known = [parameters_class(job.operation.name).reveals]
    said = ["this version of CLF can not tell what"] if known is None else known
    if job.match_report:
        said.append("how many people of each input found a partner in the others")
    return said


def _decision(status: JobStatus) -> str:
    if status.state == "pending":
        return "it waits for your decision"
    when = "" if status.decided_at is None else f" on {moment(status.decided_at)}"
    by = f" by {status.decided_by}" if status.decided_by else ""
    if status.automatic:
        by = " by your tables' policies, without you"
    if status.state == "approved":
        return (
            f"approved{when}{by}: {status.runs:,} runs until {moment(status.expires_at)}, "
            f"{status.runs_used:,} of them begun"
        )
    return f"{status.state}{when}{by}: {status.reason}"


def describe_job(
    record: JobRecord,
    *,
    server: str,
    names: Mapping[str, str],
    previous: JobRecord | None,
) -> dict[str, list[str]]:
    """Say what a job is, under one heading for each question that an owner has.

    Texts of an analyst can neither begin a line of their own nor steer a terminal.

    Parameters
    ----------
    record
        The job, as it was submitted.
    server
        Server id of the owner who asks.
    names
        Names of servers, by their ids, as far as they are known.
    previous
        The last job of the same name before it.
    """
    job, status = record.job, record.status
    analyst = status.analyst_label or "an analyst whom you have removed"
    mine = [entry for entry in job.inputs if entry.server == server]
    others = [entry for entry in job.inputs if entry.server != server]
    fingerprint = identity_fingerprint(status.analyst)
    said = {
        "Who asks": [f"{analyst}, fingerprint {fingerprint}, on {moment(status.submitted_at)}"],
        "What for": [job.purpose or "(no purpose is given)"],
        "Your data": [f"{entry.table}, {_version(entry)}: {_columns(entry)}" for entry in mine],
        "Joined with": [_of_owner(entry, names) for entry in others] or ["nobody else's data"],
        "Aligned": align_in_words(job.align),
        "Prepared": prepare_in_words(job.prepare) or ["not at all"],
        "Operation": _operation(job),
        "Comes out": _outputs(job),
        "Goes to": _recipients(job),
        "Program": [_program(job)],
        "Changed": _changes(record, previous),
        "Decision": [_decision(status)],
    }
    return {title: [printable(line) for line in lines] for title, lines in said.items()}


def describe_document(job: JobDocument, names: Mapping[str, str]) -> dict[str, list[str]]:
    """Say what a job asks of its owners, under one heading for each question.

    Parameters
    ----------
    job
        The job.
    names
        Names of servers, by their ids, as far as they are known.
    """
    return {
        "What for": [job.purpose or "(no purpose is given)"],
        "Inputs": [_of_owner(entry, names) for entry in job.inputs],
        "Aligned": align_in_words(job.align),
        "Prepared": prepare_in_words(job.prepare) or ["not at all"],
        "Operation": _operation(job),
        "Comes out": _outputs(job),
        "Goes to": _recipients(job),
        "Program": [_program(job)],
    }


def _of_owner(entry: JobInput, names: Mapping[str, str]) -> str:
    owner = names.get(entry.server, f"server {entry.server[:_SHORT]}…")
    return f"{entry.table} of {owner}, {_version(entry)}: {_columns(entry)}"


def _operation(job: JobDocument) -> list[str]:
    said = [job.operation.name]
    for name, value in job.operation.parameters.items():
        if (job.operation.name, name) == ("python", "source") and isinstance(value, str):
            # Numbered, so that no line of it looks like one of ours.
            numbered = enumerate(value.splitlines(), start=1)
            said += ["source:", *(f"{number:4} │ {line}" for number, line in numbered)]
        else:
            said.append(f"{name} = {json.dumps(value, ensure_ascii=False)}")
    return said


def _recipients(job: JobDocument) -> list[str]:
    return [
        f"{'the analyst' if who.digest == job.analyst.digest else 'a recipient'}, "
        f"fingerprint {identity_fingerprint(who.digest)}"
        for who in job.recipients
    ]


def _changes(record: JobRecord, previous: JobRecord | None) -> list[str]:
    if previous is None:
        return [f"this is the first job called {record.job.name!r}"]
    before = previous.status
    title = f"against job {before.job[:_SHORT]}… of {moment(before.submitted_at)} ({before.state})"
    return [title, *map(str, compare_jobs(previous.job, record.job))]
