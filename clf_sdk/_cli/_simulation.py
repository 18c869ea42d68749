"""``clf simulation``: a software TEE for machines without SGX."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def simulation() -> None:
    """Make a simulated TEE. INSECURE: for tests and demonstrations."""


@simulation.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
def init(directory: Path) -> None:
    """Make a simulated TEE in the new directory DIR, valid for one year."""
    from clf_sdk.attestation import TrustAnchor, create_simulation
    from clf_sdk.errors import ClfError

    try:
        platform = create_simulation(directory)
        anchor = TrustAnchor("simulation", platform.root_der)
    except ClfError as error:
        click.echo(f"Error ({error.code}): {error}", err=True)
        raise SystemExit(1) from error
    click.echo(f"  {directory / 'anchor.pem'}       root {anchor.fingerprint[:12]}…, for servers")
    click.echo(f"  {directory / 'collateral.json'}  for servers, valid for one year")
    click.echo(f"  {directory / 'platform'}/        private keys of the simulated hardware")
    click.echo(f"  MRSIGNER {platform.mrsigner}")
    click.echo(
        "INSECURE SIMULATION: it protects nothing. Whoever reads the private keys can forge any "
        "measurement, and a server that trusts this anchor gives its data to them.",
        err=True,
    )
