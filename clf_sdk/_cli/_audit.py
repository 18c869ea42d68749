"""``clf audit``: look at a server's audit log, verify it, take it away."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clf_sdk._cli._failure import fail

if TYPE_CHECKING:
    from clf_sdk.audit import RemoteLog, VerifiedEntry, VerifiedLog
    from clf_sdk.protocol import AuditEntry

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_NEW_FILE = click.Path(path_type=Path, dir_okay=False)
_PROFILE = click.option("--profile", type=_FILE, required=True, help="Owner's profile file.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_LONG_HEX = re.compile(r"[0-9a-f]{32,}")
_WORD = re.compile(r"[\w./:-]+", re.ASCII)


@click.group()
def audit() -> None:
    """Look at the audit log of a server: what it decided, and that nothing is missing."""


@audit.command()
@_PROFILE
@click.option("--last", type=click.IntRange(min=1), default=50, show_default=True, help="How many.")
@_JSON
def show(profile: Path, last: int, *, as_json: bool) -> None:
    """Show the newest decisions of a server; they are verified first.

    With --json, one entry a line, in the form that the log's Merkle tree holds.
    """
    with _log(profile) as log:
        entries = log.tail(last)
    for entry in entries:
        click.echo(entry.canonical() if as_json else _in_words(entry))
    if any(entry.mode == "simulation" for entry in entries):
        _warn()


@audit.command()
@click.argument("file", type=_FILE, required=False)
@click.option("--profile", type=_FILE, help="Owner's profile file.")
@click.option("--against", type=_FILE, help="Earlier checkpoint or export, to be continued.")
@click.option("--save", type=_NEW_FILE, help="Write the checkpoint that was verified to this file.")
@_JSON
def verify(
    file: Path | None,
    profile: Path | None,
    against: Path | None,
    save: Path | None,
    *,
    as_json: bool,
) -> None:
    """Verify a log, or the proof of one entry; exit 0 with what it holds, or 1 with the reason.

    FILE is an exported log or a proof, which is verified offline; --profile then says whose log it
    must be. Without FILE the log is fetched from the server of the profile.
    """
    from clf_sdk.audit import is_proof, verify_export, verify_proof
    from clf_sdk.errors import ClfError
    from clf_sdk.protocol import Profile

    verified: VerifiedLog | VerifiedEntry
    try:
        if file is not None:
            server = None if profile is None else Profile.load(profile).server
            if not is_proof(file):
                verified = verify_export(file, server=server, against=against)
            elif against is not None:
                raise click.UsageError("the proof of one entry continues nothing")
            else:
                verified = verify_proof(file, server=server)
        elif profile is not None:
            with _log(profile) as log:
                verified = log.verify(against=against)
        else:
            raise click.UsageError("name an exported log, or a server with --profile")
    except ClfError as error:
        fail(error, as_json=as_json)
    if save is not None:
        save.write_text(verified.checkpoint.note, "utf-8")
    _print(verified, as_json=as_json)
    if profile is None:
        click.echo("The file itself says whose log it is: compare the server's id.", err=True)


@audit.command()
@click.argument("file", type=_NEW_FILE)
@_PROFILE
@_JSON
def export(file: Path, profile: Path, *, as_json: bool) -> None:
    """Verify the whole log of a server, and write it to FILE, for `clf audit verify FILE`."""
    with _log(profile) as log:
        _print(log.export(file), as_json=as_json)


@audit.command()
@click.argument("index", type=click.IntRange(min=0))
@click.argument("file", type=_NEW_FILE)
@_PROFILE
@_JSON
def prove(index: int, file: Path, profile: Path, *, as_json: bool) -> None:
    """Write entry number INDEX and its proof to FILE, to show it without the others."""
    with _log(profile) as log:
        _print(log.prove(index, file), as_json=as_json)


@contextlib.contextmanager
def _log(profile: Path) -> Iterator[RemoteLog]:
    import clf_sdk as clf
    from clf_sdk.audit import RemoteLog

    connection = clf.connect(profile)
    try:
        yield RemoteLog(connection.http, connection.server, connection.profile.successions)
    finally:
        connection.close()


def _print(verified: VerifiedLog | VerifiedEntry, *, as_json: bool) -> None:
    from clf_sdk.audit import VerifiedEntry

    if isinstance(verified, VerifiedEntry):
        _print_entry(verified, as_json=as_json)
    else:
        _print_log(verified, as_json=as_json)


def _print_entry(verified: VerifiedEntry, *, as_json: bool) -> None:
    entry, checkpoint = verified.entry, verified.checkpoint
    if as_json:
        claims = {"server": checkpoint.server, "size": checkpoint.size, "entry": entry.to_json()}
        click.echo(json.dumps({"verified": True, **claims}))
    else:
        click.echo(f"Verified: one of {checkpoint.size} entries of server {checkpoint.server}")
        click.echo(_in_words(entry))
    if entry.mode == "simulation":
        _warn()


def _print_log(verified: VerifiedLog, *, as_json: bool) -> None:
    checkpoint = verified.checkpoint
    if as_json:
        claims: dict[str, Any] = {
            "server": checkpoint.server,
            "size": checkpoint.size,
            "root": checkpoint.root.hex(),
            "events": verified.events,
            "first_time": verified.first_time,
            "last_time": verified.last_time,
            "simulation": verified.simulation,
        }
        click.echo(json.dumps({"verified": True, **claims}))
    else:
        click.echo(f"Verified: {checkpoint.size} entries of server {checkpoint.server}")
        if verified.first_time is not None and verified.last_time is not None:
            click.echo(f"  from {_moment(verified.first_time)} to {_moment(verified.last_time)}")
        for event, count in verified.events.items():
            click.echo(f"  {count:>8}  {event}")
    if verified.simulation:
        _warn()


def _warn() -> None:
    click.echo("INSECURE SIMULATION: these decisions rest on a simulated TEE.", err=True)


def _moment(seconds: int) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _in_words(entry: AuditEntry) -> str:
    details = "  ".join(f"{name}={_shown(value)}" for name, value in entry.details.items())
    return f"{entry.index:>6}  {_moment(entry.time)}  {entry.event:<16}  {details}"


def _shown(value: Any) -> str:
    """Show a value in one line; what others chose is quoted, so that it can't steer a terminal."""
    if isinstance(value, str) and _WORD.fullmatch(value):
        text = value
    else:
        text = "-" if value is None else json.dumps(value, separators=(",", ":"))
    return _LONG_HEX.sub(lambda found: f"{found[0][:12]}…", text)
