"""The ``clf`` command. Groups of other packages plug in as entry points ``clf.commands``."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points, version
from typing import Any

import click

from clf_sdk._cli._audit import audit
from clf_sdk._cli._demo import demo
from clf_sdk._cli._identity import identity
from clf_sdk._cli._job import job
from clf_sdk._cli._policy import policy
from clf_sdk._cli._quote import quote
from clf_sdk._cli._receipt import receipt
from clf_sdk._cli._release import release
from clf_sdk._cli._simulation import simulation
from clf_sdk._cli._verbs import fetch, run, share
from clf_sdk._collector import collect_rarely
from clf_sdk.errors import ClfError

_OWN: dict[str, click.Command] = {
    command.name or "": command
    for command in (
        audit,
        demo,
        fetch,
        identity,
        job,
        policy,
        quote,
        receipt,
        release,
        run,
        share,
        simulation,
    )
}


class _Commands(click.Group):
    """Own commands, and those of installed packages, which load when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return sorted({*_OWN, *(entry.name for entry in entry_points(group="clf.commands"))})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _OWN:
            return _OWN[cmd_name]
        for entry in entry_points(group="clf.commands", name=cmd_name):
            try:
                command: click.Command = entry.load()
            except ModuleNotFoundError as error:
                ctx.fail(
                    f"`clf {cmd_name}` needs {error.name}; "
                    f"install it with: pip install 'clf-sdk[{cmd_name}]'"
                )
            return command
        return None

    def invoke(self, ctx: click.Context) -> Any:
        collect_rarely()
        try:
            return super().invoke(ctx)
        except ClfError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(1)


@click.group(cls=_Commands)
@click.version_option(version("clf-sdk"), prog_name="clf")
def main() -> None:
    """Run one analysis over the joined data of several owners who show it to nobody."""
