"""``clf job``: submit jobs as an analyst, decide about them as an owner."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import clf_sdk as clf
    from clf_sdk.protocol import JobState, JobStatus

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_OWNER = click.option(
    "--profile", type=_FILE, required=True, help="Profile file of the owner's server."
)
_JOB = click.argument("which", metavar="JOB")
_STATES = click.Choice(["pending", "approved", "refused", "revoked"])


@click.group()
def job() -> None:
    """Submit jobs, and decide about those that were submitted.

    JOB is a job's digest, or the first 8 or more digits of it.
    """


@job.command()
@click.argument("file", type=_FILE)
@click.option(
    "--profile",
    "profiles",
    type=_FILE,
    multiple=True,
    required=True,
    help="Analyst's profile of one of the job's owners; repeat it for each.",
)
@click.option(
    "--identity",
    "identity_file",
    type=_FILE,
    help="Identity file of the job's analyst; by default your own.",
)
def submit(file: Path, profiles: tuple[Path, ...], identity_file: Path | None) -> None:
    """Sign a job file, and send it to all its owners; the same again tells what they decided."""
    import clf_sdk as clf

    connections = [clf.connect(profile) for profile in profiles]
    loaded = clf.Job.load(file, endpoints=[connection.endpoint for connection in connections])
    identity = None if identity_file is None else clf.Identity.load(identity_file)
    submitted = clf.submit(loaded, identity=identity, connections=connections)
    states = {owner: status.state for owner, status in submitted.statuses.items()}
    click.echo(json.dumps({"job": loaded.digest, "owners": states}))


@job.command(name="list")
@_OWNER
@click.option("--state", type=_STATES, help="Only jobs in this state.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def list_jobs(profile: Path, state: JobState | None, *, as_json: bool) -> None:
    """List the jobs that were submitted, the latest first; an analyst sees its own."""
    import clf_sdk as clf

    for request in clf.requests(clf.connect(profile), state=state):
        click.echo(json.dumps(request.status.to_json()) if as_json else _line(request.status))


@job.command()
@_JOB
@_OWNER
def show(which: str, profile: Path) -> None:
    """Say what a job is: who asks, for what, on which data, and what differs from last time."""
    click.echo(_find(which, profile).show())


@job.command()
@_JOB
@_OWNER
@click.option("--runs", type=click.IntRange(min=1), default=1, show_default=True)
@click.option(
    "--until",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
    help="Date or time, in UTC, from which it ends; by default the end of the 30th day.",
)
def approve(which: str, profile: Path, runs: int, until: dt.datetime | None) -> None:
    """Let a job run, so many times in all, until a date."""
    aware = None if until is None else until.replace(tzinfo=dt.UTC)
    _tell(_find(which, profile).approve(runs=runs, until=aware))


@job.command()
@_JOB
@_OWNER
@click.option("--reason", required=True, help="Why; the analyst can read it.")
def refuse(which: str, profile: Path, reason: str) -> None:
    """Refuse a job that waits. That is final."""
    _tell(_find(which, profile).refuse(reason))


@job.command()
@_JOB
@_OWNER
@click.option("--reason", help="Why; the analyst can read it.")
def revoke(which: str, profile: Path, reason: str | None) -> None:
    """Take an approval back: runs end, and no other begins. That is final."""
    request = _find(which, profile)
    _tell(request.revoke() if reason is None else request.revoke(reason))


def _find(which: str, profile: Path) -> clf.JobRequest:
    import clf_sdk as clf

    return clf.requests(clf.connect(profile), limit=1000)[which]


def _tell(request: clf.JobRequest) -> None:
    click.echo(_line(request.status))


def _line(status: JobStatus) -> str:
    from clf_sdk._job_words import moment
    from clf_sdk._printable import printable

    said = f"{status.job[:12]}  {status.state:<8}  {status.name}"
    if status.operation is None:
        said += "  ALTERED in the server's database"
    if status.state == "approved":
        said += f"  {status.runs_used} of {status.runs} runs, until {moment(status.expires_at)}"
    elif status.reason is not None:
        said += f"  {printable(status.reason)}"
    return f"{said}  (asked by {status.analyst_label or 'a removed analyst'})"
