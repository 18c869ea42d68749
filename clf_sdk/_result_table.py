"""Outputs as one would print them in a paper."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_COEFFICIENTS = {"term", "coefficient", "std_error", "p", "ci_low", "ci_high"}
_SMALLEST_P = 0.001


def for_paper(frame: pd.DataFrame, *, confidence: object = None) -> pd.DataFrame:
    """Return a coefficient table with its interval in one column; any other frame as it is.

    Effects on hazards are given as ratios, and so are their intervals.

    Parameters
    ----------
    frame
        An output.
    confidence
        Level of the intervals, when it is known.
    """
    if not set(frame.columns) >= _COEFFICIENTS:
        return frame
    level = f"{confidence * 100:g} % " if isinstance(confidence, float) else ""
    ratios = "hazard_ratio" in frame
    scaled = math.exp if ratios else float
    shown = frame[["term"]].copy()
    shown["coefficient"] = frame["coefficient"].map("{:.4f}".format)
    if ratios:
        shown["hazard ratio"] = frame["hazard_ratio"].map("{:.4f}".format)
    shown[f"{level}interval"] = [
        f"[{scaled(low):.4f}, {scaled(high):.4f}]"
        for low, high in zip(frame["ci_low"], frame["ci_high"], strict=True)
    ]
    shown["std. error"] = frame["std_error"].map("{:.4f}".format)
    shown["p"] = [
        f"< {_SMALLEST_P}" if value < _SMALLEST_P else f"{value:.3f}" for value in frame["p"]
    ]
    return shown
