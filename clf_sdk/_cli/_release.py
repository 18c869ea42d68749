"""``clf release``: owners look at outputs and release them, or refuse."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from clf_sdk import Release, Releases

_PROFILE = click.option(
    "--profile",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="Owner's profile file.",
)
_RUN = click.option("--run", help="Id of the run; by default the newest one of the job.")
_JOB = click.argument("job")
_SHORT = 12
_OUTPUT = click.argument("output")


def _releases(profile: Path) -> Releases:
    import clf_sdk as clf

    return clf.releases(clf.connect(profile))


def _show(release: Release) -> None:
    click.echo(f"output      {release.output}")
    click.echo(f"job         {release.job}")
    click.echo(f"run         {release.run}")
    click.echo(f"arrived     {release.arrived_at:%Y-%m-%d %H:%M:%S} UTC")
    click.echo(f"shape       {release.shape_in_words}")
    click.echo(f"size        {release.bytes:,} bytes, sealed")
    click.echo(f"recipients  {release.recipients}")
    for line in release.report_lines():
        click.echo(f"disclosure  {line}")
    click.echo(f"status      {release.status}{f': {release.reason}' if release.reason else ''}")


@click.group()
def release() -> None:
    """Look at results that wait for your review, and release or refuse them."""


@release.command(name="list")
@_PROFILE
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def list_releases(profile: Path, *, as_json: bool) -> None:
    """List the outputs that you review."""
    found = _releases(profile)
    if not as_json:
        click.echo(repr(found))
        return
    click.echo(
        json.dumps(
            [
                {
                    "job": each.job,
                    "run": each.run,
                    "output": each.output,
                    "shape": each.shape,
                    "bytes": each.bytes,
                    "status": each.status,
                    "reason": each.reason,
                }
                for each in found
            ]
        )
    )


@release.command()
@click.argument("table")
@_PROFILE
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def about(table: str, profile: Path, *, as_json: bool) -> None:
    """List what results told about a table of yours, the latest first.

    The server remembers it under policies that compare results with earlier ones.
    """
    import clf_sdk as clf

    told = clf.connect(profile).releases(table)
    told["released_at"] = [f"{at:%Y-%m-%d %H:%M:%S}" for at in told["released_at"]]
    for row in told.to_dict("records"):
        click.echo(json.dumps(row) if as_json else _line(row))


def _line(row: Mapping[Hashable, Any]) -> str:
    words = [row["released_at"], row["job"][:_SHORT], row["operation"]]
    people = ", ".join(f"{count:,}" for count in row["people"])
    words.append(f"about {people} people of {', '.join(row['columns'] or ['all columns'])}")
    if row["filters"]:
        words.append(f"where {' AND '.join(row['filters'])}")
    if row["group_by"]:
        words.append(f"by {', '.join(row['group_by'])}")
    if row["close"]:
        words.append(f"CLOSE TO {', '.join(job[:_SHORT] for job in row['close'])}")
    return "  ".join(words)


@release.command()
@_JOB
@_OUTPUT
@_PROFILE
@_RUN
def show(job: str, output: str, profile: Path, run: str | None) -> None:
    """Show what is known of an output without opening it: shape, size, disclosure report."""
    _show(_releases(profile).of(job, output, run=run))


@release.command()
@_JOB
@_OUTPUT
@_PROFILE
@_RUN
@click.option("--reason", default="", help="For the audit log.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def approve(
    job: str, output: str, profile: Path, run: str | None, reason: str, *, yes: bool
) -> None:
    """Release an output to its recipients."""
    found = _releases(profile).of(job, output, run=run)
    _show(found)
    if not yes:
        click.confirm("Release it? This can't be taken back from who fetches it", abort=True)
    click.echo(found.approve(reason).status)


@release.command()
@_JOB
@_OUTPUT
@_PROFILE
@_RUN
@click.option("--reason", default="", help="For the recipients and the audit log.")
def refuse(job: str, output: str, profile: Path, run: str | None, reason: str) -> None:
    """Refuse an output for good."""
    click.echo(_releases(profile).of(job, output, run=run).refuse(reason).status)
