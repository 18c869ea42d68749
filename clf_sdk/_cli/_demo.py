"""``clf demo``: three owners, one enclave, one joint model, on this machine."""

from __future__ import annotations

import json

import click


@click.command()
@click.option("--json", "json_output", is_flag=True, help="Print one JSON object.")
def demo(json_output: bool) -> None:  # noqa: FBT001 - click passes it by keyword
    """Fit one model over three owners' tables, with real servers and a simulated enclave."""
    from clf_sdk._demo import as_json, as_text, run_demo

    outcome = run_demo()
    click.echo(json.dumps(as_json(outcome)) if json_output else as_text(outcome))
