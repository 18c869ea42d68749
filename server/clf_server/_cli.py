"""``clf server``: make and run an owner's server."""

from __future__ import annotations

from pathlib import Path

import click

from clf_server._cli_backup import backup, restore
from clf_server._cli_certs import certs
from clf_server._cli_people import TOKEN_DAYS, analyst, token


@click.group()
def server() -> None:
    """Make and run an owner's server."""


server.add_command(analyst)
server.add_command(backup)
server.add_command(certs)
server.add_command(restore)
server.add_command(token)


def _blob_port(_context: click.Context, _parameter: click.Parameter, value: str) -> int | None:
    if value == "off":
        return None
    try:
        return int(value)
    except ValueError as error:
        raise click.BadParameter("must be a port number, or off") from error


def _settings(
    _context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]
) -> dict[str, str]:
    settings = {}
    for each in given:
        key, equals, value = each.partition("=")
        if not equals or "\n" in each:
            raise click.BadParameter("must be KEY=VALUE")
        settings[key.strip()] = value.strip()
    return settings


def _analysts(
    _context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]
) -> dict[str, Path]:
    analysts = {}
    for each in given:
        label, equals, file = each.partition("=")
        if not equals or not label or label in analysts:
            raise click.BadParameter("must be LABEL=PUBLIC_IDENTITY_FILE, each label once")
        analysts[label] = Path(file)
    return analysts


@server.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="What the server is called, for example st-mary.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=4433, show_default=True, help="Port of the control listener.")
@click.option(
    "--blob-port",
    default="4480",
    show_default=True,
    callback=_blob_port,
    help="Port of the plain-HTTP listener for ciphertext, or off.",
)
@click.option(
    "--public-host",
    "public_hosts",
    multiple=True,
    default=("localhost",),
    show_default=True,
    help="Name or address for the certificate; repeatable; the first one goes into profiles.",
)
@click.option(
    "--insecure-simulation",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="INSECURE: trust this simulated TEE's anchor instead of Intel's root.",
)
@click.option(
    "--set",
    "settings",
    metavar="KEY=VALUE",
    multiple=True,
    callback=_settings,
    help="A further setting for clf_server.conf, such as key_provider=vault; repeatable.",
)
@click.option(
    "--analyst",
    "analysts",
    metavar="LABEL=PUBLIC_IDENTITY_FILE",
    multiple=True,
    callback=_analysts,
    help="Make an analyst known, with a profile, as `analyst add` and `token create` do; "
    "repeatable.",
)
def init(
    directory: Path,
    name: str,
    host: str,
    port: int,
    blob_port: int | None,
    public_hosts: tuple[str, ...],
    insecure_simulation: Path | None,
    settings: dict[str, str],
    analysts: dict[str, Path],
) -> None:
    """Make the directory of a new server: configuration, keys, certificates, owner's profile."""
    from clf_sdk import PublicIdentity
    from clf_sdk.errors import InvalidInput
    from clf_sdk.protocol import check_name
    from clf_server._administration import Administration
    from clf_server._provision import create_server

    people = {
        check_name(label, what="an analyst"): PublicIdentity.load(file)
        for label, file in analysts.items()
    }
    if len({identity.id for identity in people.values()}) != len(people):
        raise InvalidInput("two labels stand for the same analyst")
    made = create_server(
        directory,
        name=name,
        host=host,
        port=port,
        public_hosts=public_hosts,
        blob_port=blob_port,
        insecure_simulation=insecure_simulation,
        settings=settings,
    )
    click.echo(f"server identity  {made.server}")
    click.echo(f"owner profile    {made.owner_profile}   (keep it secret: it holds a token)")
    if people:
        with Administration(made.directory) as administration:
            for label, identity in people.items():
                administration.add_analyst(identity, label=label)
                profile = administration.create_token("analyst", analyst=label, days=TOKEN_DAYS)
                click.echo(f"analyst          {label}  {identity.fingerprint}  {profile}")
    else:
        click.echo(f"add an analyst   clf server analyst add {made.directory} FILE --label NAME")
    click.echo(f"start it with    clf server run {made.directory}")


_FILE = click.Path(resolve_path=True)


@server.command()
@click.argument("directory", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("-S", "--MRSigner", "MRSigner", help="Key that signed the enclave, 64 hex digits.")
@click.option("-E", "--MREnclave", "MREnclave", help="Measurement of the enclave, 64 hex digits.")
@click.option("-d", "--isv_prod_id", help="The signer's product.")
@click.option("-v", "--isv_svn", help="The oldest security version that is trusted.")
@click.option(
    "-s",
    "--secret",
    help="Secret for pinned enclaves. Others on this machine can see it; prefer --secret_file.",
)
@click.option("--secret_file", type=_FILE, help="The same, from a file.")
@click.option("-p", "--port", help="Port of the control listener.")
@click.option("-c", "--server_cert_path", type=_FILE, help="TLS certificate chain.")
@click.option("-k", "--server_private_key_path", type=_FILE, help="TLS private key.")
def run(directory: Path, **flags: str | None) -> None:
    """Run the server of a directory until it is stopped.

    The other options stand above the keys of the same name in DIRECTORY/clf_server.conf.
    """
    from clf_server._allocator import keep_memory

    keep_memory()
    from clf_server._serve import run_server

    run_server(directory, {key: value for key, value in flags.items() if value is not None})


_DIRECTORY = click.argument(
    "directory", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False)
)


@server.command()
@_DIRECTORY
def pause(directory: Path) -> None:
    """Stop the server of DIR from giving anything to enclaves, whether or not it runs."""
    from clf_server._administration import Administration

    with Administration(directory) as administration:
        changed = administration.pause()
    click.echo("paused: no session is opened, and tickets end within seconds")
    if not changed:
        click.echo("(it was paused before)")


@server.command()
@_DIRECTORY
def resume(directory: Path) -> None:
    """Let the paused server of DIR go on."""
    from clf_server._administration import Administration

    with Administration(directory) as administration:
        changed = administration.resume()
    click.echo("it goes on" if changed else "it was not paused")


@server.command("rotate-identity")
@_DIRECTORY
@click.option(
    "--overlap-days",
    default=30,
    show_default=True,
    help="How long the old identity is offered too.",
)
@click.option(
    "--now",
    "at_once",
    is_flag=True,
    help="The old key was stolen: end it now. Profiles can not follow, jobs must be made anew.",
)
def rotate_identity_command(directory: Path, overlap_days: int, *, at_once: bool) -> None:
    """Give the server of DIR a new identity key, with an overlap in which both are offered.

    Profiles that are used during the overlap follow by themselves; jobs that pin the old identity
    run until its end. It works whether or not the server runs.
    """
    from datetime import UTC, datetime

    from clf_server._rotate_identity import rotate_identity

    done = rotate_identity(directory, overlap_days=0 if at_once else overlap_days)
    when = datetime.fromtimestamp(done.ends_at, UTC).isoformat(sep=" ", timespec="seconds")
    click.echo(f"server identity  {done.successor}")
    click.echo(f"the one before   {done.server}")
    click.echo(f"ends             {when}")


@server.command("rotate-tls")
@_DIRECTORY
@click.option(
    "--overlap-days",
    default=30,
    show_default=True,
    help="How long the present certificate is shown on, while clients learn of the next one.",
)
@click.option("--now", "at_once", is_flag=True, help="End the overlap: show the next one now.")
@click.option(
    "--public-host",
    "hosts",
    multiple=True,
    help="Name or address for the certificate; repeatable; by default those it has.",
)
def rotate_tls(
    directory: Path, overlap_days: int, hosts: tuple[str, ...], *, at_once: bool
) -> None:
    """Renew the TLS authority and certificate of the server of DIR, with an overlap.

    Profiles that are used during the overlap learn of the new authority by themselves, and those
    that are made during it have both. It works whether or not the server runs.
    """
    from datetime import UTC, datetime

    from clf_server._administration import Administration

    with Administration(directory) as administration:
        made = administration.renew_certificate(
            overlap_days=0 if at_once else overlap_days, hosts=hosts
        )
    when = datetime.fromtimestamp(made.switch_at, UTC).isoformat(sep=" ", timespec="seconds")
    click.echo(f"certificate  {made.digest}")
    click.echo(f"shown from   {when}")


@server.command("rotate-key")
@_DIRECTORY
def rotate_key_command(directory: Path) -> None:
    """Wrap all table keys of the server of DIR under a fresh key-encryption key.

    It works whether or not the server runs, and uploads nothing again. The new key comes from the
    provider that clf_server.conf names, so this also moves the keys from one provider to another.
    The old key is destroyed at the end. If it is interrupted, run it again.
    """
    from clf_server._rotate_key import rotate_key

    done = rotate_key(directory)
    click.echo(f"key          {done.key}   ({done.provider})")
    click.echo(f"wrapped anew {done.rewrapped} table keys")
    for old in done.destroyed:
        click.echo(f"destroyed    {old}")


@server.command("migrate")
@_DIRECTORY
def migrate_command(directory: Path) -> None:
    """Bring the database of DIR to this version. Stop the server and make a backup first."""
    from clf_server._upgrade import upgrade

    done = upgrade(directory)
    same = done.before == done.after
    click.echo(f"it is of revision {done.after}" if same else f"{done.before} -> {done.after}")
    if done.signed_tokens:
        click.echo(f"{done.signed_tokens} tokens hold on; `clf server token list` shows whose")


@server.command()
def measure() -> None:
    """Print what stands in for MRENCLAVE in a simulation: the digest of the server's files."""
    from clf_server._evidence import program_measurement

    click.echo(program_measurement())


@server.command()
def openapi() -> None:
    """Print the OpenAPI document of the control listener."""
    import json

    from clf_server._openapi import openapi_document

    click.echo(json.dumps(openapi_document(), indent=2))


@server.command()
@_DIRECTORY
def healthcheck(directory: Path) -> None:
    """Ask the running server of DIR whether it is ready; the exit code is 0 when it is."""
    from clf_sdk.errors import ClfError
    from clf_server._health import check_health

    try:
        check_health(directory)
    except ClfError as error:
        click.echo(f"Error ({error.code}): {error}", err=True)
        raise SystemExit(1) from error
    click.echo("ready")
