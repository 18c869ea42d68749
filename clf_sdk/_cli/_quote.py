"""``clf quote``: look at a quote, and verify one by hand."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clf_sdk._cli._failure import fail
from clf_sdk._cli._trust import ANCHOR, anchor, enclave_options, enclave_policy

if TYPE_CHECKING:
    from clf_sdk.attestation import VerifiedEnclave

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_REPORT_DATA_BYTES = 64
_QUOTE_VERSION = b"\x03\x00"


@click.group()
def quote() -> None:
    """Look at SGX quotes and verify them."""


@quote.command()
@click.argument("file", type=_FILE)
def show(file: Path) -> None:
    """Show what a quote says. NOTHING IS VERIFIED.

    FILE is a raw quote, or an RA-TLS certificate of Gramine (DER or PEM).
    """
    from clf_sdk.attestation import evidence_from_ratls_certificate, parse_quote
    from clf_sdk.errors import ClfError

    data = file.read_bytes()
    try:
        if data.startswith(_QUOTE_VERSION):
            fields = asdict(parse_quote(data))
        else:
            evidence = evidence_from_ratls_certificate(data)
            extensions = ", ".join(evidence.extensions)
            fields = {"extensions": extensions, **asdict(parse_quote(evidence.quote))}
    except ClfError as error:
        fail(error, as_json=False)
    click.echo("Not verified; the quote says:")
    for name, value in fields.items():
        click.echo(f"  {name:<12} {'unknown' if value is None else value}")
    if int(str(fields["attributes"])[:2], 16) & 0x02:
        click.echo("A DEBUG enclave: its host can read its memory.", err=True)


@quote.command()
@click.argument("file", type=_FILE)
@click.option("--collateral", "collateral_file", type=_FILE, required=True, help="Its JSON.")
@click.option(
    "--report-data",
    metavar="HEX",
    required=True,
    help="Expected report data, up to 64 bytes; padded with zeros on the right, as SGX tools do.",
)
@enclave_options
@click.option("--at", "at", type=int, metavar="UNIX", help="Time of verification; default: now.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@ANCHOR
def verify(
    file: Path,
    collateral_file: Path,
    report_data: str,
    at: int | None,
    simulation: Path | None,
    *,
    as_json: bool,
    **pins: Any,
) -> None:
    """Verify a raw quote; exit 0 with what it proves, or 1 with the reason.

    Pin --mrenclave, or --mrsigner with --isv-prod-id and --min-isv-svn: there is no "any enclave".
    """
    from clf_sdk.attestation import Collateral, verify_quote
    from clf_sdk.errors import ClfError

    try:
        enclave = verify_quote(
            file.read_bytes(),
            Collateral.from_file(collateral_file),
            policy=enclave_policy(**pins),
            report_data=_report_data(report_data),
            anchor=anchor(simulation),
            now=int(time.time()) if at is None else at,
        )
    except ClfError as error:
        fail(error, as_json=as_json)
    _print(enclave, as_json=as_json)


def _report_data(text: str) -> bytes:
    from clf_sdk.errors import InvalidInput

    try:
        data = bytes.fromhex(text)
    except ValueError as error:
        raise InvalidInput("--report-data is not hex") from error
    if len(data) > _REPORT_DATA_BYTES:
        raise InvalidInput(f"--report-data has more than {_REPORT_DATA_BYTES} bytes")
    return data.ljust(_REPORT_DATA_BYTES, b"\0")


def _print(enclave: VerifiedEnclave, *, as_json: bool) -> None:
    claims = enclave.to_json()
    if as_json:
        click.echo(json.dumps({"verified": True, **claims}))
        return
    click.echo("Verified:" if enclave.mode == "dcap" else "Verified (INSECURE SIMULATION):")
    for name, value in claims.items():
        shown = ", ".join(value) or "none" if isinstance(value, list) else value
        click.echo(f"  {name:<12} {shown}")
