from __future__ import annotations

import pyarrow as pa
import pytest

from clf_sdk import Result
from clf_sdk.errors import NotFound
from clf_sdk.protocol import Mode

SCRIPT = "<script>alert(1)</script>"
COEFFICIENTS = pa.table({"term": ["const", SCRIPT], SCRIPT: [1.0, 2.0]})
FIT = pa.table({"rows": [8], "link": ["identity"]})


def _result(mode: Mode = "simulation") -> Result:
    return Result("ab" * 16, "cd" * 32, mode, {"coefficients": COEFFICIENTS, SCRIPT: FIT})


def test_first_output_is_the_default() -> None:
    result = _result()
    assert result.to_arrow() is COEFFICIENTS
    assert result.to_arrow(SCRIPT) is FIT
    assert list(result.to_pandas()["term"]) == ["const", SCRIPT]


def test_unknown_output_names_the_known_ones() -> None:
    with pytest.raises(NotFound, match="no output 'fits'") as caught:
        _result().to_pandas("fits")
    assert caught.value.hint is not None
    assert "coefficients" in caught.value.hint


def test_html_runs_no_script_of_a_value_a_column_or_a_name() -> None:
    text = _result()._repr_html_()
    assert "<script" not in text
    assert text.count("&lt;script&gt;") == 3


def test_simulation_is_shown_everywhere() -> None:
    simulated, real = _result(), _result("dcap")
    for show in (repr, Result.summary, Result._repr_html_):
        assert "INSECURE SIMULATION" in show(simulated)
        assert "SIMULATION" not in show(real)


def test_repr_is_one_line_without_values() -> None:
    text = repr(_result())
    assert "\n" not in text
    assert "const" not in text


def test_summary_shows_every_output() -> None:
    summary = _result().summary()
    assert "coefficients" in summary
    assert "identity" in summary
