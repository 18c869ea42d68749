from __future__ import annotations

import re
from typing import Any

import lightgbm as lgb
import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.metrics import roc_auc_score

import clf_sdk as clf
from clf_sdk.errors import InvalidJob, PolicyRefused
from clf_testing import demand, joined, operate

BUNCH = load_breast_cancer()
NAMES = [f"feature {n}" for n in range(30)]
ASKED = clf.GradientBoosting(
    outcome="benign", predictors=NAMES, objective="binary", trees=20, leaves=7
)


def _pooled() -> dict[str, Any]:
    return {name: BUNCH.data[:, n] for n, name in enumerate(NAMES)} | {"benign": BUNCH.target}


def test_trees_are_those_of_lightgbm_on_pooled_data() -> None:
    people = np.arange(len(BUNCH.target))
    data = _pooled()
    first = {"id": people} | {name: data[name] for name in NAMES[:15]}
    second = {"id": people[::-1]}
    second |= {name: data[name][::-1] for name in [*NAMES[15:], "benign"]}
    found = operate(ASKED, {"a": pa.table(first), "b": pa.table(second)}, align=joined(["a", "b"]))
    pooled = operate(ASKED, pa.table(data))
    assert found["model"] == pooled["model"]
    # And by LightGBM itself, on rows in the order of their values.
    order = np.lexsort([BUNCH.data[:, n] for n in reversed(range(30))] + [BUNCH.target])
    options = {
        "objective": "binary",
        "num_leaves": 7,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }
    theirs = lgb.train(options, lgb.Dataset(BUNCH.data[order], BUNCH.target[order]), 20)
    ours = lgb.Booster(model_str=found["model"]["text"])
    np.testing.assert_array_equal(ours.predict(BUNCH.data), theirs.predict(BUNCH.data))
    area = roc_auc_score(BUNCH.target, theirs.predict(BUNCH.data))
    assert found["fit"]["roc_auc"] == pytest.approx(area, rel=1e-12)
    assert found["importance"]["gain"].to_pylist() == pytest.approx(
        list(theirs.feature_importance("gain"))
    )


def test_no_leaf_is_smaller_than_owners_allow_and_no_range_is_told() -> None:
    parameters = clf.GradientBoosting(
        **(ASKED.to_json() | {"smallest_leaf": 1, "trees": 3, "leaves": 15})
    )
    found = operate(parameters, pa.table(_pooled()), rules=[demand(smallest_group=30)])
    text = found["model"]["text"]
    counts = [int(count) for line in re.findall(r"leaf_count=(.*)", text) for count in line.split()]
    assert len(counts) > 3
    assert min(counts) >= 30
    assert "[" not in re.findall(r"feature_infos=(.*)", text)[0]
    least, most = BUNCH.data[:, 0].min(), BUNCH.data[:, 0].max()
    assert f"{least:.17g}"[:8] not in text
    assert f"{most:.17g}"[:8] not in text


def test_missing_values_are_taken_as_they_are() -> None:
    rng = np.random.default_rng(9)
    x = rng.normal(size=400)
    y = 3 * x + rng.normal(size=400)
    gaps = [None if n % 4 == 0 else float(value) for n, value in enumerate(x)]
    parameters = clf.GradientBoosting(outcome="y", objective="regression", trees=10)
    found = operate(parameters, pa.table({"x": gaps, "y": y}))
    assert found["fit"]["rows"] == 400
    assert 0 < found["fit"]["r_squared"] < 1


def test_model_that_memorises_is_refused() -> None:
    data = load_diabetes()
    table = pa.table(
        {name: data.data[:, n] for n, name in enumerate(data.feature_names)}
        | {"y": (data.target > 140).astype(float)}
    )
    parameters = clf.GradientBoosting(
        outcome="y",
        objective="binary",
        trees=300,
        leaves=200,
        learning_rate=0.3,
        smallest_leaf=1,
    )
    assert operate(parameters, table)["fit"]["accuracy"] == 1
    with pytest.raises(PolicyRefused, match="every single"):
        operate(parameters, table, rules=[demand(smallest_group=2)])


def test_bad_outcomes_are_refused() -> None:
    table = pa.table({"x": [1.0, 2.0] * 30, "y": [-1.0, 2.0] * 30})
    for objective in ("binary", "poisson"):
        with pytest.raises(InvalidJob):
            operate(clf.GradientBoosting(outcome="y", objective=objective), table)
