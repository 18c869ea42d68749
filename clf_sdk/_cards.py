"""Static HTML cards: how objects show themselves in a notebook.

All text is escaped, cut and made printable here, whatever it is. Styles are inline, because
front ends drop style sheets of notebooks that are not trusted; colours are inherited or half
transparent, so that cards read well on light and on dark.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from clf_sdk._printable import cut, printable

if TYPE_CHECKING:
    import pandas as pd

SIMULATION = "INSECURE SIMULATION: no hardware vouches for this"

_MOST_CHARACTERS = 300
_MOST_LINES = 400  # the longest source that a job can hold (docs/operations.md, python)
_MOST_ROWS = 60
_MOST_COLUMNS = 30
_SHORT = 12
_SHORT_TEXT = 24
_FONT = "font-family:var(--jp-ui-font-family,system-ui,sans-serif);line-height:1.45"
_LINE = "rgba(128,128,128,.45)"
_CARD = f"border:1px solid {_LINE};border-radius:6px;max-width:62em;margin:4px 0;{_FONT}"
_HEAD = f"padding:6px 12px;border-bottom:1px solid {_LINE};font-size:1.05em"
_KIND = "opacity:.7;margin-right:.6em"
_BODY = "padding:6px 12px;overflow-x:auto"
# White on a dark red has a contrast of 7.2 on any page.
_BANNER = (
    "background:#a30021;color:#fff;font-weight:bold;padding:4px 12px;border-radius:5px 5px 0 0;"
    "forced-color-adjust:none"
)
_TABLE = "border-collapse:collapse;margin:0"
_LABEL = (
    "text-align:left;vertical-align:top;padding:2px 14px 2px 0;font-weight:600;"
    "white-space:nowrap;background:none"
)
_VALUE = "text-align:left;vertical-align:top;padding:2px 0;background:none;white-space:pre-wrap"
_CELL = f"padding:2px 12px 2px 0;border-bottom:1px solid {_LINE};background:none;vertical-align:top"


class Identifier(str):
    """An id of which the first digits are shown, and the rest on demand."""

    __slots__ = ()


Shown: TypeAlias = "str | Sequence[str]"


def text(value: object, *, most: int = _MOST_CHARACTERS) -> str:
    """Return a value as escaped HTML text."""
    return html.escape(printable(cut(str(value), most)))


def _shown(value: str) -> str:
    if isinstance(value, Identifier) and len(value) > _SHORT:
        return (
            f'<details style="display:inline-block"><summary><code>{text(value[:_SHORT])}…</code>'
            f'</summary><code style="overflow-wrap:anywhere">{text(value)}</code></details>'
        )
    return text(value)


def _lines(value: Shown) -> str:
    lines = [value] if isinstance(value, str) else list(value)
    shown = [_shown(line) for line in lines[:_MOST_LINES]]
    if len(lines) > _MOST_LINES:
        shown.append(f"and {len(lines) - _MOST_LINES:,} more")
    return "<br>".join(shown)


def banner(said: str = SIMULATION) -> str:
    """Return the banner of what no hardware protects."""
    return f'<div role="alert" style="{_BANNER}">⚠ {text(said)}</div>'


def rows_html(rows: Iterable[tuple[str, Shown]]) -> str:
    """Return labels and values as a table."""
    inner = "".join(
        f'<tr style="background:none"><th style="{_LABEL}">{text(label)}</th>'
        f'<td style="{_VALUE}">{_lines(value)}</td></tr>'
        for label, value in rows
    )
    return f'<table style="{_TABLE}"><tbody>{inner}</tbody></table>'


def grid(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return rows of cells as a table; numbers stand on the right."""
    few = list(columns[:_MOST_COLUMNS])
    head = "".join(f'<th style="{_CELL};text-align:left">{text(name)}</th>' for name in few)
    lines = []
    for row in rows[:_MOST_ROWS]:
        cells = "".join(_cell(value) for value in row[:_MOST_COLUMNS])
        lines.append(f'<tr style="background:none">{cells}</tr>')
    left = [f"{len(rows) - _MOST_ROWS:,} more rows"] if len(rows) > _MOST_ROWS else []
    if len(columns) > _MOST_COLUMNS:
        left.append(f"{len(columns) - _MOST_COLUMNS:,} more columns")
    more = f'<div style="opacity:.7">and {" and ".join(left)}</div>' if left else ""
    body = "".join(lines)
    return (
        f'<table style="{_TABLE}"><thead><tr style="background:none">{head}</tr></thead>'
        f"<tbody>{body}</tbody></table>{more}"
    )


def _cell(value: object) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    side = "right;font-variant-numeric:tabular-nums" if number else "left"
    shown = _as_text(value)
    whole = ";white-space:nowrap" if len(shown) <= _SHORT_TEXT else ""
    return f'<td style="{_CELL}{whole};text-align:{side}">{_shown(shown)}</td>'


def _as_text(value: object) -> str:
    if value is None or value != value:  # noqa: PLR0124 - NaN and NaT differ from themselves
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, str):
        return value
    return f"{value:%Y-%m-%d %H:%M}" if hasattr(value, "strftime") else str(value)


def frame_html(frame: pd.DataFrame) -> str:
    """Return a data frame as a table, without its index."""
    plain = frame.astype(object)
    return grid([str(name) for name in plain.columns], plain.to_numpy().tolist())


def card(
    kind: str,
    title: str,
    rows: Iterable[tuple[str, Shown]] | Mapping[str, Shown] = (),
    *,
    simulation: bool = False,
    body: str = "",
) -> str:
    """Return a card.

    Parameters
    ----------
    kind
        What it shows, such as ``"Job"``.
    title
        What that is called.
    rows
        Labels and what they say; a value may be several lines.
    simulation
        Whether it bears the banner.
    body
        HTML of this module that stands below.
    """
    pairs = list(rows.items()) if isinstance(rows, Mapping) else list(rows)
    inner = (rows_html(pairs) if pairs else "") + body
    return (
        f'<div style="{_CARD}">{banner() if simulation else ""}'
        f'<div style="{_HEAD}"><span style="{_KIND}">{text(kind)}</span>'
        f"<strong>{text(title)}</strong></div>"
        f'<div style="{_BODY}">{inner}</div></div>'
    )
