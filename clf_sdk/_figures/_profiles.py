"""Profiles of clusters: where their means differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clf_sdk._figures import _heat

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_REACH = 2.0


def size(frame: pd.DataFrame) -> tuple[float, float]:
    """Return the size in inches."""
    return _heat.size(frame["column"].nunique(), frame["cluster"].nunique())


def draw(frame: pd.DataFrame, axes: Axes) -> None:
    """Draw a cell for each mean; its colour says how far it lies from those of the others.

    Columns have units of their own, so colours are in deviations of a column's means.
    """
    means = frame.pivot_table(index="column", columns="cluster", values="mean", sort=False)
    spread = means.std(axis=1, ddof=0).replace(0.0, 1.0)
    colours = means.sub(means.mean(axis=1), axis=0).div(spread, axis=0)
    _heat.draw(colours, means, axes, reach=_REACH)
    axes.set_xlabel("cluster\n(numbers: means; colours: how clusters differ)")
