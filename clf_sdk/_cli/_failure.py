"""How a verification that fails ends a command: with the reason, and exit code 1."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from clf_sdk.errors import ClfError


def fail(error: ClfError, *, as_json: bool) -> NoReturn:
    """Print why something is not verified, and exit."""
    if as_json:
        reason = {"code": error.code, "reason": error.message, "hint": error.hint}
        click.echo(json.dumps({"verified": False, **reason}))
    else:
        click.echo(f"Refused ({error.code}): {error}", err=True)
    raise SystemExit(1)
