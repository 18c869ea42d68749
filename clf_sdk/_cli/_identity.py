"""``clf identity``: make an identity, look at one, and give its public half away."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from clf_sdk import Identity, PublicIdentity

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_NEW_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def identity() -> None:
    """Make an identity, look at one, give its public half away."""


@identity.command()
@click.option("--file", type=_NEW_FILE, help="Where to write it; default: your own place.")
@click.option("--keyring", is_flag=True, help="Keep it in the operating system's keyring.")
@click.option(
    "--passphrase-file",
    type=_FILE,
    help="Take the passphrase from the first line of this file; default: CLF_PASSPHRASE_FILE, or "
    "ask.",
)
@click.option(
    "--insecure-no-passphrase",
    is_flag=True,
    help="INSECURE: leave the file unencrypted, readable by you only.",
)
def create(
    file: Path | None,
    passphrase_file: Path | None,
    *,
    keyring: bool,
    insecure_no_passphrase: bool,
) -> None:
    """Make an identity, protected by a passphrase unless you say otherwise."""
    from clf_sdk import Identity
    from clf_sdk._identity import own_identity_path, own_identity_place
    from clf_sdk.errors import ConfigurationError

    if keyring + insecure_no_passphrase + (passphrase_file is not None) > 1 or (keyring and file):
        raise click.UsageError("a passphrase, the keyring, and a file without one exclude another")
    if file is None and (place := own_identity_place()) is not None:
        raise ConfigurationError(
            f"you have an identity already, in {place}",
            hint="`clf identity show` shows it; a second one takes --file",
        )
    made = Identity.create()
    if keyring:
        made.save_to_keyring()
        where = "the keyring"
    else:
        path = own_identity_path() if file is None else file
        passphrase = None if insecure_no_passphrase else _new_passphrase(passphrase_file)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        made.save(path, passphrase=passphrase)
        where = str(path)
    _print(made, where)
    click.echo("next         clf identity export FILE, and send the file to the owners")


@identity.command()
@click.argument("file", type=_FILE, required=False)
def show(file: Path | None) -> None:
    """Show id and fingerprint of FILE, public or private; by default of your own identity."""
    from clf_sdk import PublicIdentity

    if file is not None and _is_public(file):
        _print(PublicIdentity.load(file), f"{file} (public)")
        return
    found, where = _load(file)
    _print(found, where)


@identity.command()
@click.argument("output", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option("--file", type=_FILE, help="Your identity file; default: your own identity.")
def export(output: Path, file: Path | None) -> None:
    """Write the public half to OUTPUT, or with - to standard output."""
    found, _ = _load(file)
    if str(output) == "-":
        click.echo(json.dumps(found.public.to_json(), indent=2))
        return
    found.public.save(output)
    _print(found, str(output))
    click.echo("The owners will ask you for the fingerprint, by phone.")


def _is_public(file: Path) -> bool:
    from clf_sdk.errors import Malformed
    from clf_sdk.protocol import parse_json

    try:
        document = parse_json(file.read_bytes(), what="identity file")
    except Malformed:  # encrypted, so private
        return False
    return isinstance(document, dict) and document.get("type") == "identity"


def _load(file: Path | None) -> tuple[Identity, str]:
    from clf_sdk import Identity
    from clf_sdk._identity import own_identity_place
    from clf_sdk.errors import ConfigurationError

    if file is not None:
        return Identity.load(file), str(file)
    if (place := own_identity_place()) is None:
        raise ConfigurationError(
            "you have no identity yet", hint="make one with `clf identity create`"
        )
    return Identity.mine(), place


def _new_passphrase(file: Path | None) -> str:
    from clf_sdk._passphrase import configured_passphrase, read_passphrase_file
    from clf_sdk.errors import ConfigurationError

    if file is not None:
        return read_passphrase_file(file)
    if (configured := configured_passphrase()) is not None:
        return configured
    if not sys.stdin.isatty():
        raise ConfigurationError(
            "there is nobody to ask for a passphrase",
            hint="use --passphrase-file FILE or --keyring",
        )
    typed: str = click.prompt("Passphrase", hide_input=True, confirmation_prompt=True)
    return typed


def _print(who: Identity | PublicIdentity, where: str) -> None:
    click.echo(f"identity     {who.id}")
    click.echo(f"fingerprint  {who.fingerprint}")
    click.echo(f"kept in      {where}")
