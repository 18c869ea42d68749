"""How much of the variance principal components explain."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def size(_: pd.DataFrame) -> tuple[float, float]:
    """Return the size in inches."""
    return 6, 4


def draw(frame: pd.DataFrame, axes: Axes) -> None:
    """Draw the share of each component, and of all up to it."""
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - not always installed

    places = frame["component"]
    axes.bar(places, frame["share"], color="tab:blue", label="share of the variance")
    axes.plot(places, frame["share_so_far"], "o-", color="tab:orange", label="all so far")
    axes.set(xlabel="component", ylabel="share of the variance", ylim=(0, 1.05))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
