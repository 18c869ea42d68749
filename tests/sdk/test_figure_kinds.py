"""Each kind of figure: what it shows, where, and with which labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from clf_sdk._figures import FIGURES, figures_of

HOSTILE = "_<script>$x^2$" + "y" * 100


@pytest.fixture(autouse=True)
def _no_screen() -> Iterator[None]:
    before = mpl.get_backend()
    plt.switch_backend("agg")
    yield
    plt.close("all")
    plt.switch_backend(before)


def drawn(kind: str, frame: pd.DataFrame) -> Axes:
    """Draw a frame, down to the pixels."""
    (figure,) = (each for each in FIGURES if each.kind == kind)
    assert figure in figures_of(list(frame.columns))
    before = frame.copy()
    axes = figure.draw(frame)
    axes.figure.canvas.draw()  # a "$" of a name would fail here
    pd.testing.assert_frame_equal(frame, before)
    return axes


def points(axes: Axes, line: int = 0) -> list[tuple[float, float]]:
    """Return the points of one of the lines."""
    found: Any = axes.lines[line].get_xydata()
    return [(float(x), float(y)) for x, y in found]


def ticks(axes: Axes, which: str = "y") -> list[str]:
    return [tick.get_text() for tick in getattr(axes, f"get_{which}ticklabels")()]


def cells(axes: Axes) -> np.ndarray[Any, Any]:
    """Return the numbers that stand in the cells, as they are laid out; NaN where none stands."""
    shape = axes.images[0].get_array().shape  # type: ignore[union-attr]  # it has one
    found = np.full(shape, np.nan)
    for text in axes.texts:
        column, row = (round(place) for place in text.get_position())
        found[row, column] = float(text.get_text().replace(",", ""))
    return found


def test_coefficients_without_intervals() -> None:
    axes = drawn("forest", pd.DataFrame({"term": ["a", HOSTILE], "coefficient": [1.0, -2.0]}))
    assert points(axes) == [(1.0, 0.0), (-2.0, 1.0)]
    assert axes.get_xlabel() == "coefficient"
    assert ticks(axes)[0] == "a"
    assert len(ticks(axes)[1]) < 50


def test_hazards_are_ratios_on_a_scale_of_logarithms() -> None:
    values = {"coefficient": [0.0], "hazard_ratio": [1.0], "ci_low": [-1.0], "ci_high": [1.0]}
    axes = drawn("forest", pd.DataFrame({"term": ["stage"], **values}))
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel() == "hazard ratio, with its interval"
    container: Any = axes.containers[0]
    (ends,) = container.lines[2][0].get_segments()
    assert [x for x, _ in ends] == pytest.approx([np.exp(-1), np.exp(1)])


CURVE = pd.DataFrame(
    {
        "threshold": [0.8, 0.3, 0.0],
        "true_positive_rate": [0.6, 0.9, 1.0],
        "false_positive_rate": [0.1, 0.4, 1.0],
        "precision": [0.9, 0.7, 0.5],
    }
)


def test_roc_begins_where_nobody_is_taken_for_a_case() -> None:
    axes = drawn("roc", CURVE)
    assert points(axes) == [(0.0, 0.0), (0.1, 0.6), (0.4, 0.9), (1.0, 1.0)]
    assert points(axes, 1) == [(0.0, 0.0), (1.0, 1.0)]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("false positive rate", "true positive rate")


def test_precision_recall_shows_the_share_of_cases() -> None:
    axes = drawn("precision_recall", CURVE)
    assert points(axes) == [(0.6, 0.9), (0.9, 0.7), (1.0, 0.5)]
    assert {y for _, y in points(axes, 1)} == {0.5}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("recall", "precision")


def test_calibration_has_points_as_large_as_their_rows() -> None:
    steps = {"rows": [10, 40], "predicted": [0.9, 0.2], "observed": [0.8, 0.3]}
    axes = drawn("calibration", pd.DataFrame(steps))
    assert points(axes) == [(0.0, 0.0), (1.0, 1.0)]
    assert points(axes, 1) == [(0.2, 0.3), (0.9, 0.8)]
    sizes: Any = axes.collections[0]
    assert sizes.get_sizes()[0] == 4 * sizes.get_sizes()[1]


def test_cross_validation_marks_what_was_chosen() -> None:
    tried = {"strength": [1.0, 0.1], "mean_roc_auc": [0.8, 0.7], "std_roc_auc": [0.1, 0.2]}
    axes = drawn("cross_validation", pd.DataFrame({**tried, "chosen": [True, False]}))
    assert axes.get_xscale() == "log"
    assert points(axes) == [(0.1, 0.7), (1.0, 0.8)]
    chosen = next(line for line in axes.lines if line.get_label() == "chosen")
    assert np.asarray(chosen.get_xydata()).tolist() == [[1.0, 0.8]]


def test_importance_begins_with_the_most_important() -> None:
    gains = pd.DataFrame({"column": ["a", HOSTILE, "c"], "gain": [1.0, 5.0, 3.0]})
    axes = drawn("importance", gains)
    assert [bar.get_width() for bar in axes.patches] == [5.0, 3.0, 1.0]  # type: ignore[attr-defined]  # bars
    assert ticks(axes)[1:] == ["c", "a"]
    assert axes.yaxis_inverted()


def test_survival_begins_with_all_alive_and_names_groups() -> None:
    curves = pd.DataFrame(
        {
            "group": ["a", "a", HOSTILE],
            "time": [2.0, 5.0, 3.0],
            "survival": [0.8, 0.5, 0.0],
            "ci_low": [0.7, 0.4, np.nan],
            "ci_high": [0.9, 0.6, np.nan],
        }
    )
    axes = drawn("survival", curves)
    assert points(axes) == [(0.0, 1.0), (2.0, 0.8), (5.0, 0.5)]
    assert points(axes, 1) == [(0.0, 1.0), (3.0, 0.0)]
    assert len(axes.collections) == 2
    legend: Any = axes.get_legend()
    first, second = (text.get_text() for text in legend.get_texts())
    assert first == "group a"
    assert second.startswith(r"group _<script>\$x")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("time", "survival")


def test_one_curve_needs_no_legend_and_many_are_counted() -> None:
    one = {"time": [2.0], "survival": [0.8], "ci_low": [0.7], "ci_high": [0.9]}
    assert drawn("survival", pd.DataFrame({"group": [None], **one})).get_legend() is None
    many = pd.concat([pd.DataFrame({"group": [f"g{n}"], **one}) for n in range(12)])
    legend: Any = drawn("survival", many).get_legend()
    assert legend.get_texts()[-1].get_text() == "and 2 more groups"


def test_profiles_have_means_as_numbers_and_differences_as_colours() -> None:
    centres = pd.DataFrame(
        {
            "cluster": [1, 1, 2, 2],
            "column": ["age", "cost", "age", "cost"],
            "mean": [30.0, 5000.0, 60.0, 5000.0],
        }
    )
    axes = drawn("profiles", centres)
    assert cells(axes).tolist() == [[30.0, 60.0], [5000.0, 5000.0]]
    colours: Any = axes.images[0].get_array()
    assert colours.tolist() == [[-1.0, 1.0], [0.0, 0.0]]
    assert ticks(axes) == ["age", "cost"]
    assert ticks(axes, "x") == ["1", "2"]


def test_loadings_and_correlations_are_cells() -> None:
    loadings = {"component": [1, 1, 2, 2], "column": ["a", "b"] * 2}
    axes = drawn("loadings", pd.DataFrame({**loadings, "loading": [0.6, -0.8, 0.8, 0.6]}))
    assert cells(axes).tolist() == [[0.6, 0.8], [-0.8, 0.6]]
    assert axes.get_xlabel() == "component"
    pairs = {"first": ["a", "a", "b"], "second": ["b", HOSTILE, HOSTILE]}
    axes = drawn("correlations", pd.DataFrame({**pairs, "correlation": [0.5, -0.25, None]}))
    shown = cells(axes)
    assert shown[:2].tolist() == [[1.0, 0.5, -0.25], [0.5, 1.0, pytest.approx(np.nan, nan_ok=True)]]
    assert shown[2, 0] == -0.25


def test_many_columns_are_cut_to_what_can_be_read() -> None:
    names = [f"c{n}" for n in range(100)]
    frame = pd.DataFrame({"component": [1] * 100, "column": names, "loading": [0.1] * 100})
    axes = drawn("loadings", frame)
    assert cells(axes).shape == (40, 1)
    assert axes.figure.get_size_inches()[1] < 20  # type: ignore[union-attr]  # a whole figure


def test_scree_has_shares_and_their_sums() -> None:
    components = {"component": [1, 2], "share": [0.75, 0.25], "share_so_far": [0.75, 1.0]}
    axes = drawn("scree", pd.DataFrame(components))
    assert [bar.get_height() for bar in axes.patches] == [0.75, 0.25]  # type: ignore[attr-defined]  # bars
    assert points(axes) == [(1.0, 0.75), (2.0, 1.0)]


def test_histogram_has_a_colour_a_column() -> None:
    counted = pd.DataFrame(
        {
            "column": ["sex", "sex", HOSTILE],
            "category": ["f", "m", HOSTILE],
            "count": [12, 10, 7],
        }
    )
    axes = drawn("histogram", counted)
    assert [bar.get_width() for bar in axes.patches] == [12, 10, 7]  # type: ignore[attr-defined]  # bars
    assert ticks(axes)[:2] == ["sex: f", "sex: m"]
    colours = [to_hex(bar.get_facecolor()) for bar in axes.patches]
    assert colours[0] == colours[1] != colours[2]
    places = [bar.get_y() for bar in axes.patches]  # type: ignore[attr-defined]  # bars
    assert places[2] - places[1] == pytest.approx(2)


def test_quantiles_are_boxes_in_deviations_from_the_mean() -> None:
    described = pd.DataFrame(
        {
            "column": ["age", "hidden", "same"],
            "mean": [50.0, None, 3.0],
            "std": [10.0, None, 0.0],
            "q5": [None, None, 3.0],
            "q25": [40.0, None, 3.0],
            "q50": [50.0, None, 3.0],
            "q75": [60.0, None, 3.0],
            "q95": [80.0, None, 3.0],
        }
    )
    axes = drawn("quantiles", described)
    assert ticks(axes) == ["age"]
    ends = {x for line in axes.lines for x in np.asarray(line.get_xdata()).tolist()}
    assert ends == {-1.0, 0.0, 1.0, 3.0}
