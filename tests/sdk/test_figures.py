"""Figures of results, and tables as one prints them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_sdk._figures import FIGURES
from clf_sdk.errors import NotFound
from clf_sdk.protocol import Mode
from clf_sdk.receipt import SignedReceipt, VerifiedReceipt
from clf_testing import HandmadeRun, Simulation

SCRIPT = "<script>$x^2$</script>"
COEFFICIENTS = pa.table(
    {
        "term": ["const", SCRIPT],
        "coefficient": [1.0, -0.5],
        "std_error": [0.1, 0.2],
        "z": [10.0, -2.5],
        "p": [1e-9, 0.0124],
        "ci_low": [0.8, -0.9],
        "ci_high": [1.2, -0.1],
    }
)


@pytest.fixture(autouse=True)
def _no_screen() -> Iterator[None]:
    before = mpl.get_backend()
    plt.switch_backend("agg")
    yield
    plt.close("all")
    plt.switch_backend(before)


def _result(simulation: Simulation, mode: Mode, **outputs: pa.Table) -> clf.Result:
    run = HandmadeRun(simulation)
    statement = run.statement()
    statement["predicate"]["mode"] = mode
    receipt = VerifiedReceipt(SignedReceipt.parse(run.seal(statement)), "job", ())
    return clf.Result(receipt, outputs)


def test_coefficients_are_a_forest_plot(simulation: Simulation) -> None:
    result = _result(simulation, "dcap", fit=pa.table({"rows": [5]}), coefficients=COEFFICIENTS)
    axes = result.plot()
    axes.figure.canvas.draw()  # a "$" of a name would fail here
    assert len(axes.get_yticks()) == 2
    container: Any = axes.containers[0]
    points, _, bars = container.lines
    assert points.get_xdata().tolist() == [1.0, -0.5]
    ends = bars[0].get_segments()
    assert [[point[0] for point in end] for end in ends] == [
        pytest.approx([0.8, 1.2]),
        pytest.approx([-0.9, -0.1]),
    ]
    assert "SIMULATION" not in axes.get_title()


def test_figure_of_a_simulation_says_so(simulation: Simulation) -> None:
    result = _result(simulation, "simulation", coefficients=COEFFICIENTS)
    _, axes = plt.subplots()
    assert result.plot("coefficients", ax=axes) is axes
    assert "INSECURE SIMULATION" in axes.get_title()


def test_documentation_and_docstring_name_every_kind() -> None:
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")
    table = page.partition("## Figures")[2].partition("\n## ")[0]
    named = [re.findall(r"`(\w+)`", line.split("|")[1]) for line in table.split("\n| `")[1:]]
    assert [kind for kinds in named for kind in kinds] == [figure.kind for figure in FIGURES]
    docstring = clf.Result.plot.__doc__ or ""
    assert [each.kind for each in FIGURES if f"``{each.kind}``" not in docstring] == []


def test_what_can_not_be_drawn_is_told(simulation: Simulation) -> None:
    result = _result(simulation, "dcap", fit=pa.table({"rows": [5]}))
    with pytest.raises(NotFound, match="no figure for fit") as caught:
        result.plot()
    assert "forest, roc" in str(caught.value)
    with pytest.raises(NotFound, match="no output 'other'"):
        result.plot("other")


def test_kind_chooses_among_figures_of_an_output(simulation: Simulation) -> None:
    rates = {"true_positive_rate": [0.5, 1.0], "false_positive_rate": [0.2, 1.0]}
    curve = pa.table({**rates, "precision": [0.9, 0.6]})
    result = _result(simulation, "dcap", coefficients=COEFFICIENTS, curve=curve)
    assert result.plot("curve").get_xlabel() == "false positive rate"
    assert result.plot(kind="precision_recall").get_ylabel() == "precision"
    with pytest.raises(NotFound, match="no figure of kind 'survival' for curve") as caught:
        result.plot("curve", kind="survival")
    assert "plot('curve', kind='roc'), plot('curve', kind='precision_recall')" in str(caught.value)


def test_html_has_hazard_ratios_with_their_intervals(simulation: Simulation) -> None:
    hazards = COEFFICIENTS.append_column("hazard_ratio", pa.array([2.7183, 0.6065]))
    html = _result(simulation, "dcap", coefficients=hazards)._repr_html_()
    assert "hazard ratio" in html
    assert "[2.2255, 3.3201]" in html


def test_html_has_intervals_and_small_probabilities_as_papers_do(simulation: Simulation) -> None:
    html = _result(simulation, "dcap", coefficients=COEFFICIENTS)._repr_html_()
    assert "95 % interval" in html
    assert "[0.8000, 1.2000]" in html
    assert "&lt; 0.001" in html
    assert "0.012" in html
    assert "<script" not in html
