"""The ROC curve."""

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
    """Draw it from where nobody is taken for a case, and the line of mere guessing."""
    axes.plot(
        [0.0, *frame["false_positive_rate"]],
        [0.0, *frame["true_positive_rate"]],
        color="tab:blue",
        marker=".",
    )
    axes.plot([0, 1], [0, 1], color="gray", linewidth=1, linestyle="--")
    axes.set(xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
