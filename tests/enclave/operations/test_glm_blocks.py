"""Rows of a model read block by block: the same numbers, refused for the same reasons."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import statsmodels.api as sm

import clf_sdk as clf
from clf_enclave._alignment import align
from clf_enclave._operations import _blocks, _sandwich
from clf_enclave._operations._people import People, check_spread
from clf_enclave._operations._spread import Range, Spread
from clf_enclave._operations._terms import MOST_CATEGORIES
from clf_enclave._spill import Stream
from clf_enclave._workspace import Workspace
from clf_sdk.errors import InvalidJob, PolicyRefused
from clf_sdk.protocol import InputNode
from clf_testing import demand, demanding, operate

LINKS = sm.families.links
ROWS = 900
FAMILIES: dict[str, tuple[str, str, Any]] = {
    "gaussian": ("cost", "identity", sm.families.Gaussian()),
    "gaussian log": ("cost", "log", sm.families.Gaussian(LINKS.Log())),
    "binomial": ("ill", "logit", sm.families.Binomial()),
    "binomial probit": ("ill", "probit", sm.families.Binomial(LINKS.Probit())),
    "binomial cloglog": ("ill", "cloglog", sm.families.Binomial(LINKS.CLogLog())),
    "poisson": ("count", "log", sm.families.Poisson()),
    "gamma": ("cost", "inverse", sm.families.Gamma()),
    "gamma log": ("cost", "log", sm.families.Gamma(LINKS.Log())),
    "negative_binomial": ("count", "log", sm.families.NegativeBinomial(alpha=0.7)),
}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read even small tables in many blocks, and few clusters at a time."""
    monkeypatch.setattr(_blocks, "_LEAST_ROWS", 64)
    monkeypatch.setattr(_blocks, "BATCH_ROWS", 64)
    monkeypatch.setattr(_sandwich, "_NUMBERS_OF_A_PASS", 200)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(23)
    made = pd.DataFrame(
        {
            "a": rng.normal(size=ROWS),
            "b": rng.normal(size=ROWS),
            "region": rng.choice(["north", "south", "west"], ROWS),
            "clinic": rng.integers(0, 40, ROWS),
            "log_time": rng.uniform(-0.7, 0.7, ROWS),
            "weight": rng.integers(1, 5, ROWS).astype(float),
        }
    )
    mean = np.exp(0.9 + 0.3 * made["a"] - 0.2 * made["b"])
    made["count"] = rng.negative_binomial(2.0, 2.0 / (2.0 + mean)).astype(float)
    made["cost"] = rng.gamma(3.0, mean / 3.0)
    made["ill"] = (rng.random(ROWS) < mean / (2 + mean)).astype(float)
    return made


def _table(frame: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(frame, preserve_index=False)


def _fit(frame: pd.DataFrame, *, rules: Any = (), **parameters: Any) -> dict[str, Any]:
    return operate(clf.GLM(**parameters), _table(frame), streamed=True, rules=rules)


def _assert_equal(found: dict[str, Any], expected: Any, *, correction: float = 1.0) -> None:
    table = found["coefficients"].to_pandas()
    np.testing.assert_allclose(table["coefficient"], expected.params, rtol=1e-8, atol=1e-11)
    np.testing.assert_allclose(table["std_error"], expected.bse * correction, rtol=1e-8)
    assert found["fit"]["rows"] == expected.nobs
    assert found["fit"]["log_likelihood"] == pytest.approx(expected.llf, rel=1e-10)
    assert found["fit"]["df_residual"] == expected.df_resid


# -- the same numbers -----------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:The InversePower link")  # statsmodels' doubt about the case
@pytest.mark.parametrize("extra", ["", "offset", "frequency_weights", "variance_weights"])
@pytest.mark.parametrize("name", FAMILIES)
def test_blocks_equal_statsmodels_on_the_whole(frame: pd.DataFrame, name: str, extra: str) -> None:
    outcome, link, theirs = FAMILIES[name]
    if name == "gamma" and extra == "offset":
        pytest.skip("the mean would not stay positive")
    columns = {"offset": "log_time", "frequency_weights": "weight", "variance_weights": "weight"}
    parameters: dict[str, Any] = {extra: columns[extra]} if extra else {}
    if name == "negative_binomial":
        parameters["dispersion"] = 0.7
    found = _fit(
        frame,
        outcome=outcome,
        predictors=["a", "b"],
        family=name.split(maxsplit=1)[0],
        link=link,
        **parameters,
    )
    names = {"frequency_weights": "freq_weights", "variance_weights": "var_weights"}
    given = {names.get(extra, extra): frame[columns[extra]]} if extra else {}
    model = sm.GLM(frame[outcome], sm.add_constant(frame[["a", "b"]]), family=theirs, **given)
    expected = model.fit(tol=1e-13)
    _assert_equal(found, expected)
    fit = found["fit"]
    assert fit["deviance"] == pytest.approx(expected.deviance, rel=1e-10)
    assert fit["null_deviance"] == pytest.approx(expected.null_deviance, rel=1e-8)
    assert fit["aic"] == pytest.approx(expected.aic, rel=1e-10)
    assert fit["scale"] == pytest.approx(expected.scale, rel=1e-9)


@pytest.mark.parametrize("name", ["gaussian", "binomial probit", "poisson", "gamma log"])
@pytest.mark.parametrize("errors", ["hc0", "hc1", "clustered"])
def test_robust_errors_of_blocks(frame: pd.DataFrame, name: str, errors: Any) -> None:
    outcome, link, theirs = FAMILIES[name]
    model = sm.GLM(frame[outcome], sm.add_constant(frame[["a", "b"]]), family=theirs)
    keywords: dict[str, Any] = {"cov_type": "HC0"}
    if errors == "clustered":
        keywords = {"cov_type": "cluster", "cov_kwds": {"groups": frame["clinic"]}}
    found = _fit(
        frame,
        outcome=outcome,
        predictors=["a", "b"],
        family=name.split(maxsplit=1)[0],
        link=link,
        errors=errors,
        cluster="clinic" if errors == "clustered" else None,
    )
    # statsmodels takes HC1 of a GLM, and leaves the correction out.
    correction = np.sqrt(ROWS / (ROWS - 3)) if errors == "hc1" else 1.0
    _assert_equal(found, model.fit(tol=1e-13, **keywords), correction=correction)


@pytest.mark.parametrize("errors", ["hc0", "hc1", "hc2", "hc3"])
def test_robust_errors_of_a_linear_model_are_those_of_least_squares(
    frame: pd.DataFrame, errors: Any
) -> None:
    found = _fit(frame, outcome="cost", predictors=["a", "b"], family="gaussian", errors=errors)
    expected = sm.OLS(frame["cost"], sm.add_constant(frame[["a", "b"]])).fit(
        cov_type=errors.upper()
    )
    _assert_equal(found, expected)


@pytest.mark.parametrize("errors", ["hc0", "hc1", "hc2", "hc3"])
def test_row_with_a_frequency_counts_as_so_many_rows(frame: pd.DataFrame, errors: Any) -> None:
    asked: dict[str, Any] = {
        "outcome": "count",
        "predictors": ["a", "b"],
        "family": "poisson",
        "errors": errors,
    }
    found = _fit(frame, frequency_weights="weight", **asked)["coefficients"].to_pandas()
    repeated = frame.loc[frame.index.repeat(frame["weight"].astype(int))]
    expected = _fit(repeated, **asked)["coefficients"].to_pandas()
    np.testing.assert_allclose(found["std_error"], expected["std_error"], rtol=1e-8)


@pytest.mark.parametrize("offset", [None, "log_time"])
@pytest.mark.parametrize("errors", ["model", "hc0", "clustered"])
def test_dispersion_is_estimated_from_blocks(
    frame: pd.DataFrame, errors: Any, offset: str | None
) -> None:
    found = _fit(
        frame,
        outcome="count",
        predictors=["a", "b"],
        family="negative_binomial",
        errors=errors,
        cluster="clinic" if errors == "clustered" else None,
        offset=offset,
    )
    given = {} if offset is None else {"offset": frame[offset]}
    model = sm.NegativeBinomial(frame["count"], sm.add_constant(frame[["a", "b"]]), **given)
    near = model.fit(disp=False, maxiter=200)
    keywords: dict[str, Any] = {"model": {}, "hc0": {"cov_type": "HC0"}}.get(
        errors, {"cov_type": "cluster", "cov_kwds": {"groups": frame["clinic"]}}
    )
    expected = model.fit(
        start_params=near.params, method="newton", disp=False, tol=1e-14, **keywords
    )
    table = found["coefficients"].to_pandas()
    np.testing.assert_allclose(table["coefficient"], expected.params, rtol=1e-8, atol=1e-10)
    # statsmodels differentiates the scores of this model numerically.
    np.testing.assert_allclose(
        table["std_error"], expected.bse, rtol=1e-8 if errors == "model" else 1e-5
    )
    assert found["fit"]["log_likelihood"] == pytest.approx(expected.llf, rel=1e-11)
    assert found["fit"]["aic"] == pytest.approx(expected.aic, rel=1e-11)


def test_outcomes_that_vary_less_than_poissons_have_no_dispersion(frame: pd.DataFrame) -> None:
    rng = np.random.default_rng(5)
    changed = frame.assign(count=4.0 + rng.integers(0, 2, ROWS))
    with pytest.raises(InvalidJob, match="converge"):
        _fit(changed, outcome="count", predictors=["a"], family="negative_binomial")


@pytest.mark.parametrize(
    "parameters",
    [
        {"formula": "cost ~ a * region + b", "family": "gamma", "link": "log"},
        {"formula": "ill ~ 0 + region + a", "family": "binomial", "errors": "hc3"},
        {"formula": "count ~ a:b + region", "family": "negative_binomial"},
        {
            "formula": "count ~ a",
            "family": "poisson",
            "errors": "clustered",
            "cluster": "region",
            "offset": "log_time",
        },
    ],
)
def test_streams_give_what_tables_give(frame: pd.DataFrame, parameters: dict[str, Any]) -> None:
    gaps = frame.assign(a=frame["a"].where(frame.index % 50 != 7))
    rules = [demand(smallest_group=5)]
    whole = operate(clf.GLM(**parameters), _table(gaps), rules=rules)
    parts = _fit(gaps, rules=rules, **parameters)
    assert whole.keys() == parts.keys()
    expected, found = whole["coefficients"], parts["coefficients"]
    assert isinstance(expected, pa.Table)
    assert found.schema == expected.schema
    assert found["term"].equals(expected["term"])
    for name in expected.column_names[1:]:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-8, atol=1e-12)
    fit = whole["fit"]
    assert isinstance(fit, dict)
    assert parts["fit"] == {
        name: pytest.approx(value, rel=1e-9) if isinstance(value, float) else value
        for name, value in fit.items()
    }


def test_columns_that_nearly_follow_from_each_other_keep_their_digits(
    frame: pd.DataFrame,
) -> None:
    """Products of these columns would leave five digits."""
    near = frame.assign(b=1955.0 + frame["a"] + 1e-2 * frame["b"])
    found = _fit(near, outcome="count", predictors=["a", "b"], family="poisson")
    centred = near.assign(b=(near["b"] - 1955.0 - near["a"]) * 100)
    model = sm.GLM(
        centred["count"], sm.add_constant(centred[["a", "b"]]), family=sm.families.Poisson()
    )
    expected = model.fit(tol=1e-13)
    table = found["coefficients"].to_pandas().set_index("term")
    slope, error = 100 * expected.params["b"], 100 * expected.bse["b"]
    assert table.loc["b", "coefficient"] == pytest.approx(slope, rel=1e-8)
    assert table.loc["b", "std_error"] == pytest.approx(error, rel=1e-8)
    other = expected.params["a"] - slope
    assert table.loc["a", "coefficient"] == pytest.approx(other, rel=1e-8)


# -- refused for the same reasons -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "parameters", "said"),
    [
        ({"me": "indicator of two"}, {"predictors": ["a", "me"]}, "'me' divides people"),
        ({"me": "few differ"}, {"predictors": ["a", "me"]}, "'me' has one value for all but"),
        ({"ill": "indicator of two"}, {"outcome": "ill", "family": "binomial"}, "'ill' divides"),
        ({"region": "rare"}, {"formula": "cost ~ a + region", "outcome": None}, "rare|'region'"),
        ({"region": "rare first"}, {"formula": "cost ~ region", "outcome": None}, "'region'"),
        ({"weight": "of two"}, {"variance_weights": "weight"}, "few"),
        ({"a": "gaps"}, {}, "fewer people"),
        ({f"x{n}": "noise" for n in range(300)}, {"predictors": "all x"}, "parameters"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_models_that_tell_of_few_are_refused(
    frame: pd.DataFrame,
    changes: dict[str, str],
    parameters: dict[str, Any],
    said: str,
    *,
    streamed: bool,
) -> None:
    rng = np.random.default_rng(2)
    few = np.arange(ROWS) >= ROWS - 2
    made = {
        "indicator of two": few.astype(float),
        "few differ": np.where(few, rng.normal(size=ROWS), 0.0),
        "rare": np.where(few, "z-rare", frame["region"]),
        "rare first": np.where(few, "a-rare", frame["region"]),
        "of two": few.astype(float),
        "gaps": np.where(few, 1.0, np.nan),
    }
    columns = {
        name: rng.normal(size=ROWS) if kind == "noise" else made[kind]
        for name, kind in changes.items()
    }
    asked: dict[str, Any] = {"outcome": "cost", "family": "gaussian"} | parameters
    if asked.get("predictors") == "all x":
        asked["predictors"] = list(columns)
        columns["a"] = np.where(np.arange(ROWS) < 850, 1.0, np.nan)  # of no account
    elif "formula" not in asked:
        asked.setdefault("predictors", ["a", "b"])
    table = _table(frame.assign(**columns) if len(columns) < 50 else _wide(frame, columns))
    with pytest.raises(PolicyRefused, match=said) as caught:
        operate(clf.GLM(**asked), table, rules=[demand(smallest_group=5)], streamed=streamed)
    assert caught.value.rule == "smallest_group"


def _wide(frame: pd.DataFrame, columns: dict[str, Any]) -> pd.DataFrame:
    others = frame.drop(columns=[name for name in columns if name in frame])
    return pd.concat([others, pd.DataFrame(columns)], axis=1)


@pytest.mark.parametrize(
    ("changes", "parameters", "said"),
    [
        ({"b": lambda frame: 2 * frame["a"]}, {}, "collinear"),
        (
            {"ill": lambda frame: (frame["a"] > 0.1).astype(float)},
            {"family": "binomial"},
            "separated|converge",
        ),
        ({"ill": lambda frame: frame["a"] - 3 * frame["b"]}, {}, "separated"),
        ({"ill": lambda frame: -frame["cost"]}, {"family": "poisson"}, "negative"),
        ({"ill": lambda frame: frame["cost"] + 2}, {"family": "binomial"}, "between 0 and 1"),
        ({"ill": lambda frame: frame["cost"] * 0}, {"family": "gamma"}, "positive"),
        ({"weight": lambda frame: -frame["weight"]}, {"frequency_weights": "weight"}, "negative"),
        ({"a": lambda frame: frame["region"]}, {}, "needs numbers"),
        ({"clinic": lambda _: 7}, {"errors": "clustered", "cluster": "clinic"}, "several clusters"),
        ({}, {"family": "poisson", "max_iterations": 2}, "converge"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_models_that_can_not_be_fitted_are_refused(
    frame: pd.DataFrame,
    changes: dict[str, Any],
    parameters: dict[str, Any],
    said: str,
    *,
    streamed: bool,
) -> None:
    made = frame.assign(**changes)
    asked = {"outcome": "ill", "predictors": ["a", "b"], "family": "gaussian"} | parameters
    with pytest.raises(InvalidJob, match=said):
        operate(clf.GLM(**asked), _table(made), streamed=streamed)


def test_column_with_too_many_categories_is_refused(frame: pd.DataFrame) -> None:
    many = pd.concat([frame, frame])
    many["region"] = [f"name-{n % (MOST_CATEGORIES + 1)}" for n in range(len(many))]
    with pytest.raises(InvalidJob, match="'region' has more than 1,000 categories") as caught:
        _fit(many, formula="cost ~ a + region", family="gaussian")
    assert "name-" not in str(caught.value)


@pytest.mark.parametrize("streamed", [False, True])
def test_combination_of_first_categories_is_not_of_a_few_people(
    frame: pd.DataFrame, *, streamed: bool
) -> None:
    """No term is the indicator of it, but the constant is their mean."""
    rng = np.random.default_rng(8)
    first = np.array(["x"] * 2 + ["y"] * (ROWS - 2))
    second = np.where(first == "x", "x", rng.choice(["x", "y"], ROWS))
    second[:200], first[200:400] = np.where(np.arange(200) < 2, "x", "y"), "x"
    second[200:400] = "y"
    made = frame.assign(p=first, q=second)
    assert made.groupby(["p", "q"]).size().loc[("x", "x")] == 2
    parameters = clf.GLM(formula="cost ~ p * q", family="gaussian")
    rules = [demand(smallest_group=5)]
    with pytest.raises(PolicyRefused, match="'p:q'"):
        operate(parameters, _table(made), rules=rules, streamed=streamed)


def _said(check: Callable[..., None], *arguments: Any) -> str:
    try:
        check(*arguments)
    except PolicyRefused as error:
        return error.message
    return ""


def test_spread_of_blocks_is_the_spread_of_the_whole() -> None:
    rng = np.random.default_rng(17)
    refused = 0
    for _ in range(150):
        rows = int(rng.integers(8, 300))
        kinds = [
            rng.normal(size=rows),
            rng.integers(0, 2, rows).astype(float),
            (rng.random(rows) < 0.03).astype(float),
            np.where(rng.random(rows) < 0.05, rng.normal(size=rows), 3.5),
            rng.integers(0, int(rng.integers(1, 5)) + 1, rows).astype(float),
            np.sort(rng.poisson(0.3, rows)).astype(float),
        ]
        values = np.column_stack(kinds)
        whose = [
            pa.array([None if n % 11 == 0 else int(n) for n in rng.integers(0, 60, rows)]),
            pa.array([f"p{n}" for n in rng.integers(0, rows, rows)]),
        ]
        persons = pa.table(whose, names=["first", "second"])
        disclosure = demanding(demand(smallest_group=int(rng.integers(2, 8))))
        found = Range(values.shape[1])
        cuts = [0, *sorted(rng.integers(0, rows, 4).tolist()), rows]
        parts = list(pairwise(cuts))
        for start, stop in parts:
            found.add(values[start:stop])
        spread = Spread(found, inputs=2, enough=disclosure.rules.smallest_group)
        for start, stop in parts:
            spread.add(values[start:stop], persons.slice(start, stop - start))
        people = People.of(persons)
        for number in range(values.shape[1]):
            names = ["x" if each == number else None for each in range(values.shape[1])]
            whole = _said(check_spread, "x", values[:, number], people, disclosure)
            assert _said(spread.check, names, disclosure) == whole
            refused += bool(whole)
    assert refused > 50


# -- memory ---------------------------------------------------------------------------------------


class MadeUp(Stream):
    """Rows that are made while they are read, and are nowhere else."""

    def __init__(self, rows: int, batch_rows: int) -> None:
        self.rows = rows
        self._batch_rows = batch_rows
        self.schema = self._batch(0).schema
        self.passes = 0
        self.most_bytes = 0

    def _batch(self, start: int) -> pa.RecordBatch:
        rng = np.random.default_rng(start)
        size = self._batch_rows
        columns: dict[str, Any] = {f"x{n}": rng.normal(size=size) for n in range(5)}
        columns["y"] = rng.poisson(np.exp(0.2 * columns["x0"])).astype(float)
        columns["who"] = np.arange(start, start + size)
        return pa.RecordBatch.from_pydict(columns)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """See `Stream.batches`."""
        self.passes += 1
        for start in range(0, self.rows, self._batch_rows):
            self.most_bytes = max(self.most_bytes, pa.total_allocated_bytes())
            yield self._batch(start)


def test_memory_is_a_few_blocks_whatever_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of numpy's and Arrow's memory; the database's is limited by the job."""
    monkeypatch.setattr(_blocks, "BATCH_ROWS", 4096)
    monkeypatch.setattr(_sandwich, "_NUMBERS_OF_A_PASS", 1 << 18)
    most = []
    for rows in (16_384, 98_304):
        stream = MadeUp(rows, 4096)
        before = pa.total_allocated_bytes()
        with Workspace(64 << 20) as workspace:
            aligned = align(
                workspace, InputNode(kind="input", input="t"), {"t": stream}, entities={"t": "who"}
            )
            tracemalloc.start()
            try:
                found = _run(
                    clf.GLM(
                        outcome="y",
                        predictors=[f"x{n}" for n in range(5)],
                        family="poisson",
                        errors="clustered",
                        cluster="who",
                    ),
                    aligned.data,
                )
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
        assert found["fit"]["rows"] == rows
        assert stream.passes > 5
        most.append((peak, stream.most_bytes - before))
    (small, small_arrow), (large, large_arrow) = most
    # Six times the rows: 5 MB of them, of which at most some blocks of 0.2 MB are there.
    assert large < small + (2 << 20), (small, large)
    assert large_arrow < small_arrow + (1 << 20), (small_arrow, large_arrow)


def _run(parameters: clf.GLM, data: Any) -> dict[str, Any]:
    from clf_enclave._operations._context import Context  # noqa: PLC0415
    from clf_enclave._operations._glm import run  # noqa: PLC0415

    return run(Context(parameters, data, demanding(demand(smallest_group=10)), bytes(32)))
