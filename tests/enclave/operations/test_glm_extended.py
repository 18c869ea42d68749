"""Families, links, errors, weights, offsets and formulas, each against statsmodels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf

import clf_sdk as clf
from clf_sdk.errors import InvalidJob, PolicyRefused
from clf_testing import demand, operate

LINKS = sm.families.links


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(11)
    rows = 500
    made = pd.DataFrame(
        {
            "a": rng.normal(size=rows),
            "b": rng.normal(size=rows),
            "region": rng.choice(["north", "south", "west"], rows),
            "clinic": rng.integers(0, 25, rows),
            "time": rng.uniform(0.5, 2, rows),
            "weight": rng.integers(1, 5, rows).astype(float),
        }
    )
    mean = np.exp(0.4 + 0.3 * made["a"] - 0.2 * made["b"])
    made["log_time"] = np.log(made["time"])
    made["count"] = rng.poisson(mean * made["time"]).astype(float)
    made["cost"] = rng.gamma(2.0, mean / 2.0)
    made["ill"] = (rng.random(rows) < mean / (1 + mean)).astype(float)
    return made


def _fit(frame: pd.DataFrame, **parameters: Any) -> dict[str, Any]:
    return operate(clf.GLM(**parameters), pa.Table.from_pandas(frame, preserve_index=False))


def _compare(found: dict[str, Any], expected: Any, *, correction: float = 1.0) -> None:
    table = found["coefficients"].to_pandas()
    np.testing.assert_allclose(table["coefficient"], expected.params, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(table["std_error"], correction * expected.bse, rtol=1e-7)
    reach = correction * (expected.params - expected.conf_int().iloc[:, 0])
    np.testing.assert_allclose(table["ci_low"], expected.params - reach, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:The Sqrt link")  # statsmodels' doubt about the case itself
@pytest.mark.parametrize(
    ("outcome", "family", "link", "theirs"),
    [
        ("cost", "gamma", "log", sm.families.Gamma(LINKS.Log())),
        ("ill", "binomial", "probit", sm.families.Binomial(LINKS.Probit())),
        ("ill", "binomial", "cloglog", sm.families.Binomial(LINKS.CLogLog())),
        ("count", "poisson", "sqrt", sm.families.Poisson(LINKS.Sqrt())),
    ],
)
def test_families_and_links(
    frame: pd.DataFrame, outcome: str, family: Any, link: Any, theirs: Any
) -> None:
    found = _fit(frame, outcome=outcome, predictors=["a", "b"], family=family, link=link)
    design = sm.add_constant(frame[["a", "b"]])
    _compare(found, sm.GLM(frame[outcome], design, family=theirs).fit(tol=1e-12))
    assert found["fit"]["link"] == link


@pytest.mark.parametrize("errors", ["hc0", "hc1", "clustered"])
def test_robust_and_clustered_errors(frame: pd.DataFrame, errors: Any) -> None:
    cluster = "clinic" if errors == "clustered" else None
    found = _fit(
        frame,
        outcome="count",
        predictors=["a", "b"],
        family="poisson",
        errors=errors,
        cluster=cluster,
    )
    keywords: dict[str, Any] = {"cov_type": "HC0"}
    if cluster:
        keywords = {"cov_type": "cluster", "cov_kwds": {"groups": frame["clinic"]}}
    model = sm.GLM(frame["count"], sm.add_constant(frame[["a", "b"]]), family=sm.families.Poisson())
    # statsmodels takes HC1 of a GLM, and leaves the correction for few rows out.
    correction = np.sqrt(len(frame) / (len(frame) - 3)) if errors == "hc1" else 1.0
    _compare(found, model.fit(tol=1e-12, **keywords), correction=correction)


def test_offset_and_weights(frame: pd.DataFrame) -> None:
    found = _fit(
        frame,
        outcome="count",
        predictors=["a", "b"],
        family="poisson",
        offset="log_time",
        frequency_weights="weight",
    )
    model = sm.GLM(
        frame["count"],
        sm.add_constant(frame[["a", "b"]]),
        family=sm.families.Poisson(),
        offset=frame["log_time"],
        freq_weights=frame["weight"],
    )
    _compare(found, model.fit(tol=1e-12))


@pytest.mark.parametrize(
    "formula",
    [
        "cost ~ a * b + region",
        "cost ~ a:region + b",
        "cost ~ 0 + region + a",
        "cost ~ (a + b + region) ** 2 - a:b",
    ],
)
def test_formulas_equal_those_of_statsmodels(frame: pd.DataFrame, formula: str) -> None:
    found = _fit(frame, formula=formula, family="gaussian")
    expected = smf.glm(formula, frame).fit(tol=1e-12)
    table = found["coefficients"].to_pandas()
    names = {
        name.replace("Intercept", "const").replace("[T.", "=").replace("[", "=").replace("]", ""): (
            value
        )
        for name, value in expected.params.items()
    }
    normal = {":".join(sorted(name.split(":"))): value for name, value in names.items()}
    assert len(table) == len(normal)
    for term, value in zip(table["term"], table["coefficient"], strict=True):
        assert normal[":".join(sorted(term.split(":")))] == pytest.approx(value, rel=1e-8)


@pytest.mark.parametrize(
    "formula",
    [
        "cost ~ __import__('os').system('true')",
        "cost ~ {a.__class__}",
        "cost ~ np.log(a)",
        "cost ~ I(a)",
        "cost ~ a.b",
        "cost ~ 2 * a",
        "cost ~ a | b",
        "cost ~ [a ~ b]",
        "cost ~ .",
        "log(cost) ~ a",
        "cost + ill ~ a",
        "cost ~ cost",
        "cost ~ 1",
        "~ a",
        "cost ~ (",
        "cost ~ nothing",
    ],
)
def test_formulas_of_more_than_columns_are_refused(frame: pd.DataFrame, formula: str) -> None:
    with pytest.raises(InvalidJob):
        _fit(frame, formula=formula, family="gaussian")


@pytest.mark.parametrize(
    "parameters",
    [
        {"outcome": "cost", "formula": "cost ~ a"},
        {},
        {"formula": "cost ~ a", "predictors": ["a"]},
        {"outcome": "cost", "link": "logit"},
        {"outcome": "cost", "dispersion": 1.0},
        {"outcome": "cost", "errors": "clustered"},
        {"outcome": "cost", "cluster": "clinic"},
        {"outcome": "count", "family": "negative_binomial", "errors": "hc3"},
    ],
)
def test_parameters_that_contradict_each_other_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(InvalidJob):
        clf.GLM(**{"family": "gaussian"} | parameters)


def test_term_that_singles_out_a_few_people_is_refused(frame: pd.DataFrame) -> None:
    changed = frame.assign(me=[1.0, 1.0] + [0.0] * (len(frame) - 2))
    parameters = clf.GLM(outcome="cost", predictors=["a", "me"], family="gaussian")
    table = pa.Table.from_pandas(changed, preserve_index=False)
    with pytest.raises(PolicyRefused, match="'me'"):
        operate(parameters, table, rules=[demand(smallest_group=5)])
    # So is the product of two columns that each do not.
    crossed = frame.assign(p=[1.0] * 30 + [0.0] * 470, q=[0.0] * 28 + [1.0] * 40 + [0.0] * 432)
    parameters = clf.GLM(formula="cost ~ p * q", family="gaussian")
    table = pa.Table.from_pandas(crossed, preserve_index=False)
    with pytest.raises(PolicyRefused, match="'p:q'"):
        operate(parameters, table, rules=[demand(smallest_group=5)])


def test_weights_that_leave_the_result_to_a_few_are_refused(frame: pd.DataFrame) -> None:
    for tiny in (0.0, 1e-9):
        changed = frame.assign(w=[1.0, 1.0] + [tiny] * (len(frame) - 2))
        parameters = clf.GLM(
            outcome="cost", predictors=["a"], family="gaussian", variance_weights="w"
        )
        table = pa.Table.from_pandas(changed, preserve_index=False)
        with pytest.raises(PolicyRefused):
            operate(parameters, table, rules=[demand(smallest_group=5)])


def test_model_with_more_parameters_than_a_third_of_the_people_is_refused() -> None:
    rng = np.random.default_rng(3)
    data = {f"x{n}": rng.normal(size=29) for n in range(9)} | {"y": rng.normal(size=29)}
    parameters = clf.GLM(outcome="y", family="gaussian")
    assert operate(parameters, pa.table(data))["fit"]["rows"] == 29
    with pytest.raises(PolicyRefused, match="parameters"):
        operate(parameters, pa.table(data), rules=[demand(smallest_group=2)])
