"""Kaplan-Meier curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clf_sdk._figures._labels import label

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_MOST_GROUPS = 10


def size(_: pd.DataFrame) -> tuple[float, float]:
    """Return the size in inches."""
    return 7, 4.5


def draw(frame: pd.DataFrame, axes: Axes) -> None:
    """Draw a curve a group, with its interval, from time 0 at which everybody is alive."""
    groups = list(frame.groupby("group", dropna=False, sort=False))
    for number, (name, curve) in enumerate(groups[:_MOST_GROUPS]):
        color = f"C{number}"
        time = np.concatenate([[0.0], curve["time"].to_numpy()])
        alive, low, high = (
            np.concatenate([[1.0], curve[column].to_numpy(dtype=float)])
            for column in ("survival", "ci_low", "ci_high")
        )
        named = name is not None and name == name  # noqa: PLR0124 - NaN differs from itself
        axes.step(
            time, alive, where="post", color=color, label=f"group {label(name)}" if named else None
        )
        axes.fill_between(time, low, high, step="post", color=color, alpha=0.2, linewidth=0)
    if len(groups) > _MOST_GROUPS:
        axes.plot([], [], " ", label=f"and {len(groups) - _MOST_GROUPS} more groups")
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False)
    axes.set(xlabel="time", ylabel="survival", ylim=(0, 1.02))
    axes.set_xlim(left=0)
