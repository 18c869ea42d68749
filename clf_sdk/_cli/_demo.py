"""``clf demo``: several owners, one enclave, one joint analysis, on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import click

_SCENARIOS = ("health", "cancer", "credit", "survival")


@click.command()
@click.option(
    "--scenario",
    type=click.Choice(_SCENARIOS),
    default="health",
    show_default=True,
    help="health: doctor visits, three owners; cancer: tumours, two labs; credit: card spending, "
    "a bank and a bureau; survival: heart transplants, a hospital and a register.",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a figure of the result to this file, such as result.png.",
)
@click.option("--json", "json_output", is_flag=True, help="Print one JSON object.")
def demo(scenario: str, plot: Path | None, json_output: bool) -> None:  # noqa: FBT001 - click passes it by keyword
    """Compute over several owners' tables, with real servers and a simulated enclave."""
    from clf_sdk._demo import as_json, as_text, run_demo

    outcome = run_demo(scenario)
    click.echo(json.dumps(as_json(outcome)) if json_output else as_text(outcome))
    if plot is not None:
        import matplotlib as mpl

        mpl.use("Agg")
        figure = outcome.result.plot().get_figure(root=True)
        if figure is not None:
            figure.savefig(plot, dpi=150)
