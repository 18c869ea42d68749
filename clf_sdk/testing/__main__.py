"""Run a command beside the owners of the example: ``python -m clf_sdk.testing -- jupyter lab``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

from clf_sdk.testing._example import example_cluster


@click.command()
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("cluster"),
    show_default=True,
    help="Where the simulated owners lie.",
)
@click.option("--people", type=int, default=5000, show_default=True, help="People of the example.")
@click.argument("command", nargs=-1, required=True)
def main(directory: Path, people: int, command: tuple[str, ...]) -> None:
    """Start an insurer, a clinic and a hospital, run COMMAND, and stop them when it ends."""
    with example_cluster(directory=directory, people=people) as cluster:
        click.echo(f"{cluster!r}", err=True)
        try:
            status = subprocess.run(command, check=False).returncode
        except KeyboardInterrupt:
            status = 0
    sys.exit(status)


if __name__ == "__main__":
    main()
