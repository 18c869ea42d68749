"""``clf server backup`` and ``clf server restore``."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import click


@click.command()
@click.argument(
    "directory", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False)
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def backup(directory: Path, file: Path) -> None:
    """Write the server of DIR to FILE, while it may run.

    FILE holds its keys: protect it as the data itself.
    """
    from clf_server._backup import make_backup

    made = make_backup(directory, file)
    click.echo(f"server       {made.server}")
    click.echo(f"files        {made.files} with {made.size_bytes:,} bytes")
    click.echo(f"audit log    {made.entries} entries")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--set",
    "settings",
    metavar="KEY=VALUE",
    multiple=True,
    help="A setting that is to be another than in the backup; repeatable.",
)
def restore(file: Path, directory: Path, settings: tuple[str, ...]) -> None:
    """Make the server of DIR from the backup FILE. It is paused: look at it, then resume it."""
    from clf_server._backup import restore_backup

    given = {}
    for each in settings:
        key, equals, value = each.partition("=")
        if not equals or "\n" in each:
            raise click.BadParameter("must be KEY=VALUE")
        given[key.strip()] = value.strip()
    made = restore_backup(file, directory, settings=given)
    when = dt.datetime.fromtimestamp(made.created_at, dt.UTC)
    click.echo(f"server       {made.server}")
    click.echo(f"state of     {when:%Y-%m-%d %H:%M:%S} UTC")
    click.echo("it is paused: runs, approvals and revocations since then are not known here;")
    click.echo(f"look at them, then   clf server resume {directory}")
