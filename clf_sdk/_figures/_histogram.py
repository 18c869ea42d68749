"""How often categories stand, or the bins that a job made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clf_sdk._figures._labels import MOST_LINES, by_lines, label

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def _lines(frame: pd.DataFrame) -> int:
    shown = frame.head(MOST_LINES)
    return len(shown) + shown["column"].nunique() - 1


def size(frame: pd.DataFrame) -> tuple[float, float]:
    """Return the size in inches."""
    return by_lines(_lines(frame))


def draw(frame: pd.DataFrame, axes: Axes) -> None:
    """Draw a bar a category; the categories of each column in a colour of its own."""
    place = 0
    places: list[int] = []
    names: list[str] = []
    columns = frame.head(MOST_LINES).groupby("column", sort=False)
    for number, (column, counted) in enumerate(columns):
        here = range(place, place + len(counted))
        axes.barh(here, counted["count"], color=f"C{number % 10}")
        places += here
        names += [f"{label(column)}: {label(category)}" for category in counted["category"]]
        place += len(counted) + 1
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.set_xlabel("rows")
