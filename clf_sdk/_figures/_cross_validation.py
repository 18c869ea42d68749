"""Cross-validation: how well each strength of a penalty did."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def size(_: pd.DataFrame) -> tuple[float, float]:
    """Return the size in inches."""
    return 6, 4


def draw(frame: pd.DataFrame, axes: Axes) -> None:
    """Draw the mean area under the ROC curve with its deviation, and which one was chosen."""
    shown = frame.sort_values("strength")
    axes.errorbar(
        shown["strength"],
        shown["mean_roc_auc"],
        yerr=shown["std_roc_auc"],
        fmt="o-",
        capsize=3,
        color="tab:blue",
        label="mean and deviation of the folds",
    )
    chosen = shown[shown["chosen"]]
    axes.plot(
        chosen["strength"],
        chosen["mean_roc_auc"],
        "D",
        color="tab:orange",
        markersize=9,
        zorder=3,
        label="chosen",
    )
    axes.set(xscale="log", xlabel="inverse strength of the penalty (C)", ylabel="ROC AUC")
    axes.legend(frameon=False)
