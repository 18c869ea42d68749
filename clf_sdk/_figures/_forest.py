"""A forest plot: coefficients with their intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_MOST_TERMS = 60


def draw(frame: pd.DataFrame, axes: Axes) -> None:
    """Draw one line a term, the first on top, and where there is no effect."""
    shown = frame.head(_MOST_TERMS)
    places = range(len(shown))
    below = shown["coefficient"] - shown["ci_low"]
    above = shown["ci_high"] - shown["coefficient"]
    axes.errorbar(
        shown["coefficient"],
        places,
        xerr=[below, above],
        fmt="o",
        capsize=3,
        color="tab:blue",
        markersize=5,
    )
    axes.axvline(0.0, color="gray", linewidth=1, linestyle="--")
    # A "$" would begin a formula.
    axes.set_yticks(list(places), [str(term).replace("$", r"\$") for term in shown["term"]])
    axes.invert_yaxis()
    axes.set_xlabel("coefficient, with its interval")
    axes.spines[["top", "right"]].set_visible(False)
