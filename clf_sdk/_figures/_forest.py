"""A forest plot: coefficients, with their intervals where there are any."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clf_sdk._figures._labels import MOST_LINES, by_lines, label

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def size(frame: pd.DataFrame) -> tuple[float, float]:
    """Return the size in inches."""
    return by_lines(len(frame.head(MOST_LINES)))


def draw(frame: pd.DataFrame, axes: Axes) -> None:
    """Draw one line a term, the first on top, and where there is no effect.

    What is multiplied with a hazard is drawn as such, on a scale of logarithms.
    """
    shown = frame.head(MOST_LINES)
    intervals = {"ci_low", "ci_high"} <= set(shown.columns)
    ratios = "hazard_ratio" in shown.columns
    names = ["coefficient", *(["ci_low", "ci_high"] if intervals else [])]
    values = shown[names].to_numpy(dtype=float)
    if ratios:
        values = np.exp(values)
    middle = values[:, 0]
    reach = [middle - values[:, 1], values[:, 2] - middle] if intervals else None
    places = range(len(shown))
    axes.errorbar(middle, places, xerr=reach, fmt="o", capsize=3, color="tab:blue", markersize=5)
    axes.axvline(1.0 if ratios else 0.0, color="gray", linewidth=1, linestyle="--")
    axes.set_yticks(list(places), [label(term) for term in shown["term"]])
    axes.invert_yaxis()
    if ratios:
        _scale_of_logarithms(axes, narrow=bool(np.nanmax(values) < 10 * np.nanmin(values)))
    what = "hazard ratio" if ratios else "coefficient"
    axes.set_xlabel(f"{what}, with its interval" if intervals else what)


def _scale_of_logarithms(axes: Axes, *, narrow: bool) -> None:
    """Make the x axis one of logarithms, with numbers as people write them."""
    from matplotlib.ticker import MaxNLocator, NullLocator  # noqa: PLC0415 - not always installed

    axes.set_xscale("log")
    if narrow:  # there may be no power of ten to label
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
