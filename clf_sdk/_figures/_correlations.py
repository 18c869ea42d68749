"""Correlations of pairs of columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from clf_sdk._figures import _heat

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def _names(frame: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys([*frame["first"], *frame["second"]]))


def size(frame: pd.DataFrame) -> tuple[float, float]:
    """Return the size in inches."""
    return _heat.size(len(_names(frame)), len(_names(frame)))


def draw(frame: pd.DataFrame, axes: Axes) -> None:
    """Draw a cell for each pair; those that are not shown stay empty."""
    names = _names(frame)
    cells = pd.DataFrame(np.eye(len(names)), index=names, columns=names)
    for first, second, correlation in zip(
        frame["first"], frame["second"], frame["correlation"], strict=True
    ):
        cells.loc[first, second] = cells.loc[second, first] = correlation
    _heat.draw(cells, cells, axes, reach=1.0)
    axes.set_xlabel("correlation")
