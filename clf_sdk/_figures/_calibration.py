"""Calibration: how often cases are where a model says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clf_sdk._figures._labels import SQUARE

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_LARGEST_POINTS = 200


def size(_: pd.DataFrame) -> tuple[float, float]:
    """Return the size in inches."""
    return SQUARE


def draw(frame: pd.DataFrame, axes: Axes) -> None:
    """Draw a point for each step, as large as it has rows, and where they should lie."""
    shown = frame.sort_values("predicted")
    areas = _LARGEST_POINTS * shown["rows"] / shown["rows"].max()
    axes.plot([0, 1], [0, 1], color="gray", linewidth=1, linestyle="--")
    axes.plot(shown["predicted"], shown["observed"], color="tab:blue", linewidth=1)
    axes.scatter(shown["predicted"], shown["observed"], s=areas, color="tab:blue", alpha=0.7)
    axes.set(xlabel="predicted probability", ylabel="observed share", aspect="equal")
