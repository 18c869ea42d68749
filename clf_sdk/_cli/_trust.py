"""Options that say what a verification trusts: a root, and an enclave."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from clf_sdk.attestation import EnclavePolicy, TrustAnchor

_CommandT = TypeVar("_CommandT", bound=Callable[..., Any])

ANCHOR = click.option(
    "--insecure-simulation",
    "simulation",
    metavar="ANCHOR",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Trust this simulated root instead of Intel's. Proves nothing about hardware.",
)
_PINS = (
    click.option("--mrenclave", metavar="HEX", help="The measurement to pin."),
    click.option("--mrsigner", metavar="HEX", help="The signer to pin, with product and SVN."),
    click.option("--isv-prod-id", type=int, help="The product to pin."),
    click.option("--min-isv-svn", type=int, help="The lowest security version to accept."),
    click.option(
        "--allow-status",
        "statuses",
        multiple=True,
        metavar="S",
        help="A TCB status beside UpToDate.",
    ),
)


def enclave_options(command: _CommandT) -> _CommandT:
    """Give a command the options of `enclave_policy`."""
    for option in reversed(_PINS):
        command = option(command)
    return command


def anchor(simulation: Path | None) -> TrustAnchor:
    """Return Intel's root, or the simulated one that was named, with a warning."""
    from clf_sdk.attestation import TrustAnchor

    if simulation is None:
        return TrustAnchor.intel()
    click.echo("INSECURE SIMULATION: this proves nothing about hardware.", err=True)
    return TrustAnchor.insecure_simulation(simulation)


def enclave_policy(
    *,
    mrenclave: str | None,
    mrsigner: str | None,
    isv_prod_id: int | None,
    min_isv_svn: int | None,
    statuses: tuple[str, ...],
) -> EnclavePolicy:
    """Return the policy that the options of `enclave_options` make.

    Raises
    ------
    ConfigurationError
        They pin nothing.
    """
    from clf_sdk.attestation import EnclavePolicy

    return EnclavePolicy(
        mrenclave=mrenclave,
        mrsigner=mrsigner,
        isv_prod_id=isv_prod_id,
        min_isv_svn=min_isv_svn,
        tcb_statuses=frozenset({"UpToDate", *statuses}),
    )
