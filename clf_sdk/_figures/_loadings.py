"""Loadings of principal components."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clf_sdk._figures import _heat

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def size(frame: pd.DataFrame) -> tuple[float, float]:
    """Return the size in inches."""
    return _heat.size(frame["column"].nunique(), frame["component"].nunique())


def draw(frame: pd.DataFrame, axes: Axes) -> None:
    """Draw a cell for each column in each component."""
    cells = frame.pivot_table(index="column", columns="component", values="loading", sort=False)
    _heat.draw(cells, cells, axes, reach=1.0)
    axes.set_xlabel("component")
