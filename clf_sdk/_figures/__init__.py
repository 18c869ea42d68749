"""Figures of results: what can be drawn is told by the columns of an output.

A figure is a module of its own: it says how large it is, and draws on matplotlib axes. Adding one
touches nothing but the list below.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clf_sdk.errors import ConfigurationError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Figure:
    """A kind of figure.

    Attributes
    ----------
    kind
        What it is called.
    columns
        The columns that an output must have to be drawn like this.
    module
        Module with ``size(frame)``, in inches, and ``draw(frame, axes)``.
    """

    kind: str
    columns: frozenset[str]
    module: str

    def _module(self) -> Any:
        return importlib.import_module(f"clf_sdk._figures.{self.module}")

    def draw(self, frame: pd.DataFrame, axes: Axes | None = None) -> Axes:
        """Draw an output that has these columns, by default on axes of their own.

        Raises
        ------
        ConfigurationError
            matplotlib is not installed.
        """
        module = self._module()
        if axes is None:
            axes = _new_axes(module.size(frame))
        module.draw(frame, axes)
        axes.spines[["top", "right"]].set_visible(False)
        return axes


_RATES = frozenset({"true_positive_rate", "false_positive_rate", "precision"})

FIGURES = (
    Figure("forest", frozenset({"term", "coefficient"}), "_forest"),
    Figure("roc", _RATES, "_roc"),
    Figure("precision_recall", _RATES, "_precision_recall"),
    Figure("calibration", frozenset({"predicted", "observed", "rows"}), "_calibration"),
    Figure("cross_validation", frozenset({"strength", "mean_roc_auc"}), "_cross_validation"),
    Figure("importance", frozenset({"column", "gain"}), "_importance"),
    Figure("survival", frozenset({"group", "time", "survival"}), "_survival"),
    Figure("profiles", frozenset({"cluster", "column", "mean"}), "_profiles"),
    Figure("scree", frozenset({"component", "share", "share_so_far"}), "_scree"),
    Figure("loadings", frozenset({"component", "column", "loading"}), "_loadings"),
    Figure("correlations", frozenset({"first", "second", "correlation"}), "_correlations"),
    Figure("histogram", frozenset({"column", "category", "count"}), "_histogram"),
    Figure("quantiles", frozenset({"column", "mean", "std", "q25", "q50", "q75"}), "_quantiles"),
)
"""Where several fit an output, the first one is drawn by default."""


def figures_of(columns: list[str]) -> list[Figure]:
    """Return the figures that an output with some columns can be drawn as."""
    return [figure for figure in FIGURES if figure.columns <= set(columns)]


def _new_axes(size: tuple[float, float]) -> Axes:
    try:
        import matplotlib.pyplot as plt  # noqa: PLC0415 - heavy, and not always installed
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "figures need matplotlib", hint="pip install 'clf-sdk[notebook]'"
        ) from error
    _, axes = plt.subplots(figsize=size, layout="constrained")
    return axes
