"""``clf server certs``: TLS certificates in one command."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--host",
    "hosts",
    multiple=True,
    help="Host name or address of the server; repeatable. Default: those of the certificate there.",
)
@click.option("--name", help="What certificates call the server.")
@click.option(
    "--days", default=397, show_default=True, help="How long the server's certificate is valid."
)
@click.option(
    "--new-authority",
    is_flag=True,
    help="Make another authority, too: profiles must be written anew.",
)
def certs(
    folder: Path,
    hosts: tuple[str, ...],
    name: str | None,
    days: int,
    *,
    new_authority: bool,
) -> None:
    """Make or renew the certificate in FOLDER, for example /srv/clinic/tls.

    Writes ca.pem, ca.key, server.pem and server.key; keys can be read by their owner only. Run
    again it renews the server's certificate and key under the same authority, so that profiles
    stay valid. ca.key is needed for that alone: it may be kept elsewhere meanwhile.
    """
    from clf_server._certificate_files import certificate_name, make_certificates

    made = make_certificates(
        folder,
        name=name or certificate_name(folder),
        hosts=hosts,
        days=days,
        new_authority=new_authority,
    )
    click.echo(f"certificate  {made.folder / 'server.pem'}")
    click.echo(f"for          {', '.join(made.hosts)}")
    click.echo(f"valid until  {made.valid_until:%Y-%m-%d}")
    if made.new_authority:
        click.echo("a new authority: give people new profiles, with its ca.pem")
    click.echo("restart the server to use it")
