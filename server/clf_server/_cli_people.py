"""``clf server analyst`` and ``clf server token``: who is known to a server, and who may ask it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from clf_sdk.protocol import Role
    from clf_server._tokens import StoredToken

_DIRECTORY = click.argument(
    "directory", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False)
)
_SHORT = 12
TOKEN_DAYS = 365


@click.group()
def analyst() -> None:
    """Decide which analysts the server of DIR knows. Takes effect at once."""


@analyst.command("add")
@_DIRECTORY
@click.argument("file", metavar="PUBLIC_IDENTITY_FILE", type=click.Path(path_type=Path))
@click.option("--label", required=True, help="What you call the analyst, for example ada.")
def add_analyst(directory: Path, file: Path, label: str) -> None:
    """Make an analyst known, by the file that `clf identity export` wrote."""
    from clf_sdk import PublicIdentity
    from clf_server._administration import Administration

    with Administration(directory) as administration:
        added = administration.add_analyst(PublicIdentity.load(file), label=label)
    click.echo(f"analyst      {added.label}")
    click.echo(f"identity     {added.id}")
    click.echo(f"fingerprint  {added.identity.fingerprint}")
    click.echo(
        "Compare the fingerprint with the analyst, by phone: whoever has the keys of this identity "
        "acts as the analyst here."
    )
    click.echo(f"then         clf server token create {directory} --role analyst --analyst {label}")


@analyst.command("list")
@_DIRECTORY
def list_analysts(directory: Path) -> None:
    """Show the analysts that the server knows."""
    from clf_server._administration import Administration

    with Administration(directory) as administration:
        known, tokens = administration.analysts.list(), administration.tokens.list()
        now = administration.now()
    for entry in known:
        valid = sum(t.analyst == entry.id and _state(t, now) == "valid" for t in tokens)
        click.echo(
            f"{entry.label}  {entry.id[:_SHORT]}…  {entry.identity.fingerprint}  "
            f"added {_date(entry.added_at)}  {valid} valid token{'' if valid == 1 else 's'}"
        )


@analyst.command("remove")
@_DIRECTORY
@click.argument("who", metavar="LABEL|IDENTITY")
def remove_analyst(directory: Path, who: str) -> None:
    """Forget an analyst, and revoke its tokens."""
    from clf_server._administration import Administration

    with Administration(directory) as administration:
        removed, revoked = administration.remove_analyst(who)
    click.echo(f"removed      {removed.label}  {removed.id}")
    for token in revoked:
        click.echo(f"revoked      {token.id}  {token.label}")


@click.group()
def token() -> None:
    """Give and take access tokens of the server of DIR. Takes effect at once."""


@token.command("create")
@_DIRECTORY
@click.option("--role", type=click.Choice(["owner", "analyst"]), required=True)
@click.option("--analyst", "who", metavar="LABEL|IDENTITY", help="The analyst to whom it belongs.")
@click.option("--label", help="What the token is called; an analyst's by default as the analyst.")
@click.option("--days", default=TOKEN_DAYS, show_default=True, help="How long it lives.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The profile's file; by default DIR/LABEL.profile.json. It must not exist.",
)
def create_token(
    directory: Path,
    role: Role,
    who: str | None,
    label: str | None,
    days: int,
    output: Path | None,
) -> None:
    """Make a token, and write the profile file that its holder needs."""
    from clf_server._administration import Administration

    with Administration(directory) as administration:
        path = administration.create_token(
            role, analyst=who, label=label, days=days, profile=output
        )
    click.echo(f"profile      {path}   (a secret: hand it over privately)")


@token.command("list")
@_DIRECTORY
def list_tokens(directory: Path) -> None:
    """Show all tokens; what they are is not stored, so it can't be shown."""
    from clf_server._administration import Administration

    with Administration(directory) as administration:
        tokens, now = administration.tokens.list(), administration.now()
    for entry in tokens:
        click.echo(
            f"{entry.id}  {entry.role:<7}  {entry.label}  {_state(entry, now)}  "
            f"created {_date(entry.created_at)}  expires {_date(entry.expires_at)}"
            + (f"  analyst {entry.analyst[:_SHORT]}…" if entry.analyst else "")
        )


@token.command("revoke")
@_DIRECTORY
@click.argument("token_id", metavar="ID")
def revoke_token(directory: Path, token_id: str) -> None:
    """Revoke the token of this ID, which `list` shows."""
    from clf_server._administration import Administration

    with Administration(directory) as administration:
        revoked = administration.revoke_token(token_id)
    click.echo(f"revoked      {token_id}" + ("" if revoked else "   (it was before)"))


def _state(entry: StoredToken, now: int) -> str:
    if entry.revoked_at is not None:
        return "revoked"
    return "expired" if entry.expires_at <= now else "valid"


def _date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()
