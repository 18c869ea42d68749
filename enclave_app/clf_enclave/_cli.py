"""``clf enclave``: the program that runs inside the enclave."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from clf_enclave._cli_host import diff, doctor, healthcheck, measure


@click.group()
def enclave() -> None:
    """Run jobs inside an enclave."""


for command in (diff, doctor, healthcheck, measure):
    enclave.add_command(command)


_SIMULATION = click.option(
    "--insecure-simulation",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="INSECURE: use the simulated TEE of this directory instead of SGX.",
)


@enclave.command()
@click.argument("job", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@_SIMULATION
def run(job: Path, insecure_simulation: Path | None) -> None:
    """Run the job of a run request file, and report in JSON lines."""
    from clf_enclave._program import run_program

    sys.exit(run_program(job, insecure_simulation=insecure_simulation))


@enclave.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=4490, show_default=True, help="Port to listen on.")
@_SIMULATION
def serve(host: str, port: int, insecure_simulation: Path | None) -> None:
    """Stay, and take jobs over HTTP, one after the other."""
    from clf_enclave._program import make_provider
    from clf_enclave._service import serve as serve_runs

    serve_runs(make_provider(insecure_simulation), host=host, port=port)
