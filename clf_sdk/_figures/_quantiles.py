"""Quantiles of columns, as boxes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from clf_sdk._figures._labels import MOST_LINES, by_lines, label

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def _shown(frame: pd.DataFrame) -> pd.DataFrame:
    complete = frame.dropna(subset=["mean", "std", "q25", "q50", "q75"])
    return complete[complete["std"] > 0].head(MOST_LINES)


def size(frame: pd.DataFrame) -> tuple[float, float]:
    """Return the size in inches."""
    return by_lines(len(_shown(frame)))


def draw(frame: pd.DataFrame, axes: Axes) -> None:
    """Draw a box from the lower to the upper quartile, and whiskers to the outermost quantiles.

    Columns have units of their own, so all are drawn in deviations from their means.
    """
    shown = _shown(frame)
    known = sorted(
        (name for name in shown.columns if re.fullmatch(r"q\d+(\.\d+)?", name)),
        key=lambda name: float(name[1:]),
    )
    boxes = []
    for row in shown.to_dict("records"):
        known_here = [name for name in known if row[name] == row[name]]
        scaled = {name: (row[name] - row["mean"]) / row["std"] for name in known_here}
        boxes.append(
            {
                "label": label(row["column"]),
                "whislo": scaled[known_here[0]],
                "q1": scaled["q25"],
                "med": scaled["q50"],
                "q3": scaled["q75"],
                "whishi": scaled[known_here[-1]],
            }
        )
    places = range(len(boxes))
    axes.bxp(boxes, positions=places, orientation="horizontal", showfliers=False, widths=0.6)
    axes.axvline(0.0, color="gray", linewidth=1, linestyle="--")
    axes.invert_yaxis()
    axes.set_xlabel("quantiles, in standard deviations from the mean")
