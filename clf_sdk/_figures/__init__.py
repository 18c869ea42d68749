"""Figures of results: what can be drawn is told by the columns of an output.

A figure is a module of its own: it says which columns it needs, and draws them on matplotlib axes.
Adding one touches nothing but the list below.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clf_sdk.errors import ConfigurationError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Figure:
    """A kind of figure.

    Attributes
    ----------
    name
        What it is called.
    columns
        The columns that an output must have to be drawn like this.
    module
        Module with ``draw(frame, axes)``.
    """

    name: str
    columns: frozenset[str]
    module: str

    def draw(self, frame: pd.DataFrame, axes: Axes) -> None:
        """Draw an output that has these columns."""
        importlib.import_module(f"clf_sdk._figures.{self.module}").draw(frame, axes)


FIGURES = (
    Figure("forest plot", frozenset({"term", "coefficient", "ci_low", "ci_high"}), "_forest"),
)


def figure_of(columns: list[str]) -> Figure | None:
    """Return the figure that fits some columns best; None when there is none."""
    found = [figure for figure in FIGURES if figure.columns <= set(columns)]
    return max(found, key=lambda figure: len(figure.columns), default=None)


def new_axes(lines: int) -> Axes:
    """Return axes of their own, high enough for some lines.

    Raises
    ------
    ConfigurationError
        matplotlib is not installed.
    """
    try:
        import matplotlib.pyplot as plt  # noqa: PLC0415 - heavy, and not always installed
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "figures need matplotlib", hint="pip install 'clf-sdk[notebook]'"
        ) from error
    height = min(max(2.5, 0.35 * lines + 1.2), 20)
    _, axes = plt.subplots(figsize=(7, height), layout="constrained")
    return axes
