"""``clf enclave measure | diff | doctor | healthcheck``: commands for people on the host."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click

_SIZE = re.compile(r"([1-9]\d*)([KMG])")
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def _size(_context: click.Context, _parameter: click.Parameter, value: str) -> int:
    found = _SIZE.fullmatch(value)
    if found is None:
        raise click.BadParameter("must be a size such as 512M or 4G")
    return int(found[1]) * _UNITS[found[2]]


@click.command()
@click.argument(
    "sigfile", required=False, type=click.Path(path_type=Path, exists=True, dir_okay=False)
)
def measure(sigfile: Path | None) -> None:
    """Print the policy that pins a signed build, from its signature file (*.sig).

    Without SIGFILE print what stands in for MRENCLAVE in a simulation: the digest of this
    program's files.
    """
    if sigfile is None:
        from clf_enclave._program import program_measurement

        click.echo(program_measurement())
        return
    from clf_sdk.attestation import parse_sigstruct

    policy = parse_sigstruct(sigfile.read_bytes()).policy()
    click.echo(json.dumps(policy.to_json(), indent=2))


@click.command()
@click.argument("before", metavar="A", type=click.Path(path_type=Path, exists=True))
@click.argument("after", metavar="B", type=click.Path(path_type=Path, exists=True))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with every file.")
def diff(before: Path, after: Path, *, as_json: bool) -> None:
    """Tell what changed between the measured builds A and B: manifest, packages, files.

    A and B are signed manifests (*.manifest.sgx), or the directories that hold them. The exit
    code is 0 when nothing changed, and 1 when something did.
    """
    from clf_enclave._host._build import load_build
    from clf_enclave._host._diff import as_lines, compare_builds

    found = compare_builds(load_build(before), load_build(after))
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=2))
    else:
        click.echo("\n".join(as_lines(found)))
    raise SystemExit(1 if found else 0)


@click.command()
@click.option("--pccs", help="Address of the PCCS; by default the one that this machine uses.")
@click.option(
    "--enclave-size",
    default="4G",
    show_default=True,
    callback=_size,
    help="Size of the enclave that is to run.",
)
@click.option("--edmm", is_flag=True, help="The build uses EDMM.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(pccs: str | None, enclave_size: int, *, edmm: bool, as_json: bool) -> None:
    """Tell whether this machine can run the enclave, and what to do about what is missing.

    The exit code is 0 when nothing is missing.
    """
    from dataclasses import asdict

    from clf_enclave._host._doctor import Machine, as_lines, examine

    findings = examine(Machine(), pccs=pccs, enclave_bytes=enclave_size, edmm=edmm)
    missing = [finding.check for finding in findings if finding.outcome == "missing"]
    if as_json:
        document = {"missing": missing, "findings": [asdict(finding) for finding in findings]}
        click.echo(json.dumps(document, indent=2))
    else:
        click.echo("\n".join(as_lines(findings)))
        click.echo()
        click.echo(f"missing: {', '.join(missing)}" if missing else "nothing is missing")
    raise SystemExit(1 if missing else 0)


@click.command()
@click.option("--port", default=4490, show_default=True, help="Port that the enclave listens on.")
def healthcheck(port: int) -> None:
    """Ask the enclave that serves on this machine whether it answers."""
    import urllib.request

    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5):
            pass
    except OSError as error:
        click.echo(f"the enclave does not answer: {error}", err=True)
        raise SystemExit(1) from error
    click.echo("the enclave answers")
