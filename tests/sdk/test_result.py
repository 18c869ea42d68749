from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import pyarrow as pa
import pytest

from clf_sdk import Result
from clf_sdk.errors import NotFound
from clf_sdk.protocol import Mode
from clf_sdk.receipt import SignedReceipt, VerifiedReceipt
from clf_testing import HandmadeRun, Simulation

SCRIPT = "<script>alert(1)</script>"
COEFFICIENTS = pa.table({"term": ["const", SCRIPT], SCRIPT: [1.0, 2.0]})
FIT = pa.table({"rows": [8], "link": ["identity"]})


Make: TypeAlias = Callable[..., Result]


@pytest.fixture
def made(simulation: Simulation) -> Make:
    """Make results of either mode; what their receipts prove is not looked at here."""
    run = HandmadeRun(simulation)

    def make(mode: Mode = "simulation") -> Result:
        statement = run.statement()
        statement["predicate"]["mode"] = mode
        receipt = VerifiedReceipt(SignedReceipt.parse(run.seal(statement)), "job", ())
        return Result(receipt, {"coefficients": COEFFICIENTS, SCRIPT: FIT})

    return make


def test_first_output_is_the_default(made: Make) -> None:
    result = made()
    assert result.to_arrow() is COEFFICIENTS
    assert result.to_arrow(SCRIPT) is FIT
    assert list(result.to_pandas()["term"]) == ["const", SCRIPT]


def test_unknown_output_names_the_known_ones(made: Make) -> None:
    with pytest.raises(NotFound, match="no output 'fits'") as caught:
        made().to_pandas("fits")
    assert caught.value.hint is not None
    assert "coefficients" in caught.value.hint


def test_html_runs_no_script_of_a_value_a_column_or_a_name(made: Make) -> None:
    text = made()._repr_html_()
    assert "<script" not in text
    assert text.count("&lt;script&gt;") == 3


def test_simulation_is_shown_everywhere(made: Make) -> None:
    simulated, real = made(), made("dcap")
    for show in (repr, Result.summary, Result._repr_html_):
        assert "INSECURE SIMULATION" in show(simulated)
        assert "SIMULATION" not in show(real)


def test_repr_is_one_line_without_values(made: Make) -> None:
    text = repr(made())
    assert "\n" not in text
    assert "const" not in text


def test_summary_shows_every_output(made: Make) -> None:
    summary = made().summary()
    assert "coefficients" in summary
    assert "identity" in summary
