"""How an error shows itself in a notebook."""

from __future__ import annotations

import inspect
import traceback
from typing import TYPE_CHECKING

from clf_sdk._printable import cut, printable

if TYPE_CHECKING:
    from clf_sdk.errors import ClfError

_RED, _BOLD, _PLAIN = "\x1b[31;1m", "\x1b[1m", "\x1b[0m"
_MOST_CHARACTERS = 2000
_SHOWN = "_clf_shown"


def explain_error(error: ClfError) -> list[tuple[str, str]]:
    """Say why an error is raised and what to do, as pairs of a label and a text."""
    summary = (inspect.getdoc(type(error)) or "").partition("\n")[0]
    rule = getattr(error, "rule", None)
    told = [
        ("Why", summary + (f" The rule is {rule!r}." if rule else "")),
        ("What to do", error.hint or ""),
        ("Request", error.request_id or ""),
    ]
    return [(label, _harmless(text)) for label, text in told if text]


def render_error(error: ClfError) -> list[str]:
    """Return one red line, the reasons and the remedy; a traceback when asked a second time."""
    if getattr(error, _SHOWN, False):
        return [_harmless(line) for line in _traceback_lines(error)]
    setattr(error, _SHOWN, True)
    head = _harmless(error.message).replace("\n", " ")
    lines = [f"{_RED}{type(error).__name__}: {head}{_PLAIN}"]
    lines += [f"{_BOLD}{label}:{_PLAIN} {text}" for label, text in explain_error(error)]
    return [*lines, "(%tb shows the traceback)"]


def _traceback_lines(error: ClfError) -> list[str]:
    return "".join(traceback.format_exception(error)).splitlines()


def _harmless(text: str) -> str:
    return "\n".join(printable(line) for line in cut(text, _MOST_CHARACTERS).split("\n"))
