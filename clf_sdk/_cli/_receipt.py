"""``clf receipt``: look at receipts, verify them offline, compare two of them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clf_sdk._cli._failure import fail
from clf_sdk._cli._trust import ANCHOR, anchor, enclave_options, enclave_policy

if TYPE_CHECKING:
    from clf_sdk.receipt import Comparison

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group()
def receipt() -> None:
    """Look at the receipts of runs, and verify them."""


@receipt.command()
@click.argument("file", type=_FILE)
@_JSON
def show(file: Path, *, as_json: bool) -> None:
    """Show what a receipt says. NOTHING BUT ITS OWN SIGNATURE IS VERIFIED."""
    from clf_sdk.errors import ClfError
    from clf_sdk.receipt import SignedReceipt, as_text, describe

    try:
        signed = SignedReceipt.parse(file.read_bytes())
    except ClfError as error:
        fail(error, as_json=as_json)
    if as_json:
        click.echo(json.dumps(signed.statement.to_json()))
        return
    click.echo("Not verified; the receipt says:")
    click.echo(as_text(describe(signed.predicate)))
    if signed.predicate.mode == "simulation":
        click.echo("INSECURE SIMULATION: no hardware vouches for this run.", err=True)


@receipt.command()
@click.argument("file", type=_FILE)
@enclave_options
@click.option("--run", metavar="RUN", help="The run's id that it must be of.")
@click.option("--job", metavar="DIGEST", help="The job's digest that it must be of.")
@_JSON
@ANCHOR
def verify(
    file: Path,
    run: str | None,
    job: str | None,
    simulation: Path | None,
    *,
    as_json: bool,
    **pins: Any,
) -> None:
    """Verify a receipt offline; exit 0 with what it proves, or 1 with the reason.

    Without --mrenclave or --mrsigner, the program must be the one that the job pins, on platforms
    that are up to date.
    """
    import clf_sdk as clf
    from clf_sdk.errors import ClfError

    try:
        pinned = any(value not in (None, ()) for value in pins.values())
        verified = clf.verify(
            file,
            anchor=anchor(simulation),
            policy=enclave_policy(**pins) if pinned else None,
            run=run,
            job=job,
        )
    except ClfError as error:
        fail(error, as_json=as_json)
    if as_json:
        click.echo(json.dumps({"verified": True, **verified.to_json()}))
        return
    click.echo("Verified:" if verified.mode == "dcap" else "Verified (INSECURE SIMULATION):")
    click.echo(verified.summary())


@receipt.command(name="fetch")
@click.argument("run")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--profile", type=_FILE, required=True, help="Profile of one of the job's owners.")
def fetch_receipt(run: str, file: Path, profile: Path) -> None:
    """Write the receipt of a run, as a server holds it, to FILE. It is not verified."""
    import clf_sdk as clf

    file.write_bytes(clf.connect(profile).receipt(run))
    click.echo(f"{file}   (not verified: clf receipt verify {file})")


@receipt.command()
@click.argument("first", type=_FILE)
@click.argument("second", type=_FILE)
@_JSON
def compare(first: Path, second: Path, *, as_json: bool) -> None:
    """Tell whether two parties saw the same run: exit 0 if they did, 1 if not.

    Nothing is verified but the receipts' own signatures; `clf receipt verify` does the rest.
    """
    from clf_sdk.errors import ClfError
    from clf_sdk.receipt import compare_receipts

    try:
        found = compare_receipts(first.read_bytes(), second.read_bytes())
    except ClfError as error:
        fail(error, as_json=as_json)
    click.echo(json.dumps(asdict(found)) if as_json else _comparison(found))
    raise SystemExit(0 if found.same else 1)


def _comparison(found: Comparison) -> str:
    from clf_sdk._printable import printable

    if found.same:
        return "The same receipt, byte for byte: both saw the same run."
    if found.same_run:
        title = "TWO DIFFERENT RECEIPTS OF ONE RUN. A run has one; at most one of these is true."
    else:
        title = f"Different runs of {'the same job' if found.same_job else 'different jobs'}."
    lines = (f"{each.place}: {each.first} / {each.second}" for each in found.differences)
    return "\n".join([title, *(f"  {printable(line)}" for line in lines)])
