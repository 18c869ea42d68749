"""Importance: how much each predictor adds to a model of trees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clf_sdk._figures._labels import MOST_LINES, by_lines, label

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def size(frame: pd.DataFrame) -> tuple[float, float]:
    """Return the size in inches."""
    return by_lines(len(frame.head(MOST_LINES)))


def draw(frame: pd.DataFrame, axes: Axes) -> None:
    """Draw a bar for each predictor, the most important on top."""
    shown = frame.sort_values("gain", ascending=False, kind="stable").head(MOST_LINES)
    places = range(len(shown))
    axes.barh(places, shown["gain"], color="tab:blue")
    axes.set_yticks(list(places), [label(name) for name in shown["column"]])
    axes.invert_yaxis()
    axes.set_xlabel("gain")
