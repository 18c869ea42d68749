from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import statsmodels.api as sm

from clf_enclave._operations import read_parameters
from clf_sdk.errors import InvalidJob, PolicyRefused
from clf_testing import demand, operate

FAMILIES = {
    "gaussian": sm.families.Gaussian(),
    "binomial": sm.families.Binomial(),
    "poisson": sm.families.Poisson(),
}


def _glm(table: pa.Table, parameters: dict[str, Any], *, smallest_group: int = 1) -> dict[str, Any]:
    rules = [demand(smallest_group=smallest_group)]
    return operate(read_parameters("glm", parameters), table, rules=rules)


def _data(family: str) -> dict[str, Any]:
    rng = np.random.default_rng(7)
    a, b = rng.normal(size=400), rng.normal(size=400)
    linear = 0.3 + 0.5 * a - 0.2 * b
    outcome = {
        "gaussian": linear + rng.normal(size=400),
        "binomial": (rng.random(400) < 1 / (1 + np.exp(-linear))).astype(float),
        "poisson": rng.poisson(np.exp(linear)).astype(float),
    }[family]
    return {"a": a, "b": b, "y": outcome}


@pytest.mark.parametrize("family", FAMILIES)
def test_glm_equals_statsmodels(family: str) -> None:
    data = _data(family)
    outputs = _glm(pa.table(data), {"outcome": "y", "family": family})
    design = sm.add_constant(np.column_stack([data["a"], data["b"]]))
    fitted = sm.GLM(data["y"], design, family=FAMILIES[family]).fit(tol=1e-12)
    found = outputs["coefficients"].to_pandas()
    assert list(found["term"]) == ["const", "a", "b"]
    for column, expected in {
        "coefficient": fitted.params,
        "std_error": fitted.bse,
        "z": fitted.tvalues,
        "p": fitted.pvalues,
        "ci_low": fitted.conf_int()[:, 0],
        "ci_high": fitted.conf_int()[:, 1],
    }.items():
        np.testing.assert_allclose(found[column], expected, rtol=1e-8, atol=1e-10)
    fit = outputs["fit"]
    assert (fit["rows"], fit["rows_dropped"], fit["family"]) == (400, 0, family)
    assert fit["log_likelihood"] == pytest.approx(fitted.llf, rel=1e-10)
    assert fit["deviance"] == pytest.approx(fitted.deviance, rel=1e-10)


def test_rows_that_lack_a_value_are_dropped_or_refused() -> None:
    data = _data("gaussian")
    whole = _glm(pa.table(data).slice(3), {"outcome": "y", "family": "gaussian"})
    gaps = {name: list(values) for name, values in data.items()}
    gaps["a"][0], gaps["b"][1], gaps["y"][2] = None, float("nan"), float("inf")
    parameters = {"outcome": "y", "family": "gaussian"}
    outputs = _glm(pa.table(gaps), parameters)
    assert outputs["fit"]["rows_dropped"] == 3
    assert outputs["coefficients"].equals(whole["coefficients"])
    with pytest.raises(InvalidJob, match="lack a value"):
        _glm(pa.table(gaps), {**parameters, "missing": "refuse"})


@pytest.mark.parametrize(
    ("columns", "parameters", "said"),
    [
        ({}, {"family": "cauchy"}, "family"),
        ({}, {"surprise": 1}, "surprise"),
        ({}, {"outcome": "nothing"}, "no column"),
        ({}, {"predictors": ["a", "a"]}, "twice"),
        ({"a": ["secret-text"] * 400}, {}, "needs numbers"),
        ({"b": "a"}, {}, "collinear"),
        ({"y": [-1.0] * 400}, {"family": "poisson"}, "negative"),
        ({"y": [7.5] * 400}, {"family": "binomial"}, "between 0 and 1"),
        ({"y": "separated"}, {"family": "binomial"}, "separated|converge"),
    ],
)
def test_models_that_can_not_be_fitted_are_refused_without_a_value(
    columns: dict[str, Any], parameters: dict[str, Any], said: str
) -> None:
    data = _data("gaussian")
    for name, values in columns.items():
        if values == "a":
            values = data["a"] * 2  # noqa: PLW2901 - the case in words becomes its data
        elif values == "separated":
            values = (data["a"] > 0).astype(float)  # noqa: PLW2901 - the same
        data[name] = values
    with pytest.raises(InvalidJob, match=said) as caught:
        _glm(pa.table(data), {"outcome": "y", "family": "gaussian"} | parameters)
    assert "secret-text" not in str(caught.value)
    assert "7.5" not in str(caught.value)


def test_too_few_rows_are_refused() -> None:
    table = pa.table({"a": [1.0, 2.0], "y": [1.0, 2.0]})
    with pytest.raises(InvalidJob, match="too few"):
        _glm(table, {"outcome": "y", "family": "gaussian"})


def test_unknown_operation_names_the_known_ones() -> None:
    with pytest.raises(InvalidJob, match="glm"):
        read_parameters("dump", {})


def test_group_is_counted_after_incomplete_rows_are_left_out() -> None:
    rows = 20
    gaps = [float(n % 3) if n % 2 else None for n in range(rows)]
    data = pa.table({"a": gaps, "y": [float(n) for n in range(rows)]})
    parameters = {"outcome": "y", "family": "gaussian"}
    assert _glm(data, parameters, smallest_group=10)["fit"]["rows"] == 10
    with pytest.raises(PolicyRefused) as caught:
        _glm(data, parameters, smallest_group=11)
    assert caught.value.rule == "smallest_group"
