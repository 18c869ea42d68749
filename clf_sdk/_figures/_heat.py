"""Numbers in rows and columns, as colours with the numbers in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clf_sdk._figures._labels import label

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

MOST_ROWS, MOST_COLUMNS = 40, 20
_MOST_CHARACTERS = 20
_DARK = 0.6
_LARGE = 1000
_SHORT = 3


def size(rows: int, columns: int) -> tuple[float, float]:
    """Return the size in inches of so many rows and columns."""
    return max(6.5, 2.6 + 0.75 * min(columns, MOST_COLUMNS)), 2.2 + 0.4 * min(rows, MOST_ROWS)


def draw(colours: pd.DataFrame, numbers: pd.DataFrame, axes: Axes, *, reach: float) -> None:
    """Draw cells, blue below zero and red above.

    Parameters
    ----------
    colours
        What the colours say.
    numbers
        What stands in the cells; of the same shape.
    axes
        Where.
    reach
        The number of the darkest colours.
    """
    colours = colours.iloc[:MOST_ROWS, :MOST_COLUMNS]
    values = colours.to_numpy(dtype=float)
    axes.imshow(values, cmap="RdBu_r", vmin=-reach, vmax=reach, aspect="auto")
    written = numbers.to_numpy(dtype=float)
    for row, column in np.ndindex(values.shape):
        number = written[row, column]
        if not np.isnan(number):
            dark = abs(values[row, column]) > _DARK * reach
            axes.text(
                column,
                row,
                f"{number:,.0f}" if abs(number) >= _LARGE else f"{number:.3g}",
                ha="center",
                va="center",
                color="white" if dark else "black",
                fontsize="small",
            )
    above = [label(name, most=_MOST_CHARACTERS) for name in colours.columns]
    slanted = max(len(name) for name in above) > _SHORT
    axes.set_xticks(range(len(above)), above, rotation=45 if slanted else 0)
    if slanted:
        for tick in axes.get_xticklabels():
            tick.set(ha="right", rotation_mode="anchor")
    beside = [label(name, most=_MOST_CHARACTERS) for name in colours.index]
    axes.set_yticks(range(len(beside)), beside)
