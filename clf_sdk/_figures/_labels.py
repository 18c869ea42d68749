"""Names of an output as labels of a figure, and how large figures are."""

from __future__ import annotations

from clf_sdk._printable import printable

SQUARE = (4.8, 4.8)
MOST_LINES = 60
_MOST_CHARACTERS = 40


def label(name: object, *, most: int = _MOST_CHARACTERS) -> str:
    """Return a name as matplotlib shows it to the letter: a "$" would begin a formula."""
    shown = printable(str(name))
    if len(shown) > most:
        shown = shown[: most - 1] + "…"
    return shown.replace("$", r"\$")


def by_lines(lines: int, *, width: float = 7) -> tuple[float, float]:
    """Return the size of a figure with so many lines of text at its side."""
    return width, min(max(2.5, 0.35 * lines + 1.2), 20)
