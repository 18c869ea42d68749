"""``clf share``, ``clf run`` and ``clf fetch``: what notebooks do, from a shell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clf_sdk._cli._trust import ANCHOR, anchor

if TYPE_CHECKING:
    from clf_sdk import Identity

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_PROFILES = click.option(
    "--profile",
    "profiles",
    type=_FILE,
    multiple=True,
    required=True,
    help="Profile of one of the job's owners; repeat it for each.",
)
_IDENTITY = click.option(
    "--identity",
    "identity_file",
    type=_FILE,
    help="Identity file of a recipient; by default your own.",
)


def _identity(path: Path | None) -> Identity:
    from clf_sdk import Identity

    return Identity.mine() if path is None else Identity.load(path)


@click.command()
@click.argument("file", type=_FILE)
@click.option("--name", required=True, help="Name of the table.")
@click.option("--profile", type=_FILE, required=True, help="Owner's profile file.")
@click.option("--policy", "policy_file", type=_FILE, required=True, help="Policy, as JSON.")
@click.option(
    "--widen", is_flag=True, help="Let the policy allow more than the table's present one."
)
@click.option(
    "--expect",
    "expected_file",
    type=_FILE,
    help="Send nothing unless the server proves to be the program that this JSON file pins: an "
    "object with mrenclave, or mrsigner, isv_prod_id and min_isv_svn.",
)
@click.option("--collateral", "collateral_file", type=_FILE, help="For --expect: its JSON.")
@click.option(
    "--as-file", is_flag=True, help="Publish FILE as it is, to the byte, whatever kind it is of."
)
@ANCHOR
def share(
    file: Path,
    name: str,
    profile: Path,
    policy_file: Path,
    expected_file: Path | None,
    collateral_file: Path | None,
    simulation: Path | None,
    *,
    widen: bool,
    as_file: bool,
) -> None:
    """Publish a Parquet or CSV file, or with --as-file any file, through an owner's server."""
    import clf_sdk as clf
    from clf_sdk._cli._policy import load_policy
    from clf_sdk.attestation import EnclavePolicy, FileCollateral
    from clf_sdk.protocol import parse_json

    policy = load_policy(policy_file)
    expected = None
    if expected_file is not None:
        expected = EnclavePolicy.from_json(parse_json(expected_file.read_bytes(), what="--expect"))
    connection = clf.connect(
        profile,
        expect=expected,
        anchor=anchor(simulation) if expected or simulation else None,
        collateral=FileCollateral(collateral_file) if collateral_file else None,
    )
    table = clf.share(file, name=name, policy=policy, to=connection, widen=widen, as_file=as_file)
    size = {"bytes": table.rows} if as_file else {"rows": table.rows}
    click.echo(json.dumps({"table": table.name, "version": table.version, **size}))


@click.command()
@click.argument("job", type=_FILE)
@_PROFILES
@click.option("--enclave", help="Address of a running enclave (`clf enclave serve`).")
@click.option(
    "--insecure-simulation",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="INSECURE: use the simulated TEE of this directory instead of SGX.",
)
@click.option("--resume", metavar="RUN", help="Go on with this run, which crashed.")
def run(
    job: Path,
    profiles: tuple[Path, ...],
    enclave: str | None,
    insecure_simulation: Path | None,
    resume: str | None,
) -> None:
    """Run a job file in an enclave, and print the run's id."""
    import clf_sdk as clf

    connections = [clf.connect(profile) for profile in profiles]
    loaded = clf.Job.load(
        job, endpoints=[each for connection in connections for each in connection.endpoints]
    )
    finished = clf.run(
        loaded, enclave=enclave, insecure_simulation=insecure_simulation, resume=resume
    )
    click.echo(json.dumps({"run": finished.id, "job": loaded.digest}))


@click.command()
@click.argument("run_id", metavar="RUN")
@_PROFILES
@_IDENTITY
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory for the receipt and one Parquet file an output; by default it is printed.",
)
@ANCHOR
def fetch(
    run_id: str,
    profiles: tuple[Path, ...],
    identity_file: Path | None,
    output: Path | None,
    simulation: Path | None,
) -> None:
    """Fetch, verify and decrypt the outputs of a run."""
    import pyarrow.parquet as pq

    import clf_sdk as clf

    connections = [clf.connect(profile) for profile in profiles]
    result = clf.fetch(
        run_id,
        connections=connections,
        identity=_identity(identity_file),
        anchor=anchor(simulation),
    )
    if output is None:
        click.echo(result.summary())
        return
    output.mkdir(parents=True, exist_ok=True)
    for name, found in result.outputs.items():
        if isinstance(found, dict):
            path = output / f"{name}.json"
            path.write_text(json.dumps(found, indent=2) + "\n")
        else:
            path = output / f"{name}.parquet"
            pq.write_table(found, path)
        click.echo(path)
    result.receipt.save(output / "receipt.json")
    click.echo(output / "receipt.json")
