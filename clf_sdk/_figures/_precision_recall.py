"""The precision-recall curve."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clf_sdk._figures._labels import SQUARE

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def size(_: pd.DataFrame) -> tuple[float, float]:
    """Return the size in inches."""
    return SQUARE


def draw(frame: pd.DataFrame, axes: Axes) -> None:
    """Draw it, and the share of cases: the precision of whoever takes everybody for one."""
    axes.plot(frame["true_positive_rate"], frame["precision"], color="tab:blue", marker=".")
    everybody = frame.loc[frame["false_positive_rate"] == 1, "precision"]
    if len(everybody):
        axes.axhline(everybody.iloc[-1], color="gray", linewidth=1, linestyle="--")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
