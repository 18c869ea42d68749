"""Every operation gives what it gives on the pooled table, however owners divide it."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_sdk.align import join, union
from clf_sdk.operations import OPERATIONS, Parameters
from clf_sdk.protocol import AlignNode
from clf_testing import operate

ROWS = 240
NUMBERS = ["a", "b", "c", "d"]

ASKED: dict[str, Parameters] = {
    "aggregate": clf.Aggregate(
        sql="SELECT region, ill = 1 AS ill, count(*) AS n, sum(a) AS a, avg(cost) AS cost, "
        "stddev(b) AS b FROM data WHERE c > -1 GROUP BY ALL"
    ),
    "describe": clf.Describe(cross_tabulations=[("region", "ill")]),
    "glm": clf.GLM(formula="cost ~ a * b + region", family="gamma", link="log", errors="hc1"),
    "gradient_boosting": clf.GradientBoosting(
        outcome="ill", predictors=NUMBERS, objective="binary", trees=8, smallest_leaf=10
    ),
    "kmeans": clf.KMeans(clusters=3, columns=NUMBERS, starts=3),
    "logistic_regression": clf.LogisticRegression(
        outcome="ill", predictors=NUMBERS, strength=[0.1, 1.0], folds=3
    ),
    "pca": clf.PCA(columns=NUMBERS),
    "survival": clf.Survival(
        duration="months", event="ill", predictors=NUMBERS[:3], group="region", strata="region"
    ),
}


@cache
def _pooled() -> pd.DataFrame:
    rng = np.random.default_rng(17)
    frame = pd.DataFrame({name: rng.normal(size=ROWS) for name in NUMBERS})
    frame["a"] += rng.integers(0, 3, ROWS) * 4.0
    linear = 0.5 * frame["b"] - 0.4 * frame["c"]
    frame["region"] = rng.choice(["north", "south", "west"], ROWS)
    frame["ill"] = (rng.random(ROWS) < 1 / (1 + np.exp(-linear))).astype("int64")
    frame["cost"] = rng.gamma(2.0, np.exp(linear / 4))
    frame["months"] = np.round(rng.exponential(np.exp(2 - linear / 3)), 1) + 0.1
    frame.insert(0, "id", rng.permutation(ROWS))
    return frame


def _table(frame: pd.DataFrame, seed: int) -> pa.Table:
    """Return some rows or columns, in an order of their owner's own."""
    return pa.Table.from_pandas(frame.sample(frac=1, random_state=seed), preserve_index=False)


def _vertical(frame: pd.DataFrame, names: list[str]) -> dict[str, pa.Table]:
    columns = list(frame.columns[1:])
    return {
        name: _table(frame[["id", *columns[number :: len(names)]]], number)
        for number, name in enumerate(names)
    }


def _horizontal(frame: pd.DataFrame, names: list[str]) -> dict[str, pa.Table]:
    return {
        name: _table(frame.iloc[number :: len(names)], number) for number, name in enumerate(names)
    }


def _divide(layout: str, owners: int) -> tuple[dict[str, pa.Table], AlignNode]:
    names = [f"owner{number}" for number in range(owners)]
    frame = _pooled()
    if layout == "vertical":
        return _vertical(frame, names), join(*names, on="id")
    if layout == "horizontal":
        return _horizontal(frame, names), union(*names)
    regional = _horizontal(frame[["id", "a", "c", "ill", "cost"]], names[1:])
    rest = _table(frame[["id", "b", "d", "region", "months"]], 9)
    return regional | {names[0]: rest}, join(union(*names[1:]), names[0], on="id")


@cache
def _expected(operation: str) -> dict[str, Any]:
    return operate(ASKED[operation], _table(_pooled(), 1))


def _same(found: Any, expected: Any, where: str) -> None:
    if isinstance(expected, pa.Table):
        _same(found.to_pydict(), expected.to_pydict(), where)
    elif isinstance(expected, dict):
        assert list(found) == list(expected), where
        for key, value in expected.items():
            _same(found[key], value, f"{where}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for number, value in enumerate(expected):
            _same(found[number], value, f"{where}[{number}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-8, abs=1e-10), where
    else:
        assert found == expected, where


def test_every_operation_is_compared() -> None:
    # What these compute is in their own tests: a source's own result, a model's predictions, noise.
    elsewhere = {"private_statistics", "python", "score"}
    assert set(ASKED) | elsewhere == set(OPERATIONS)


@pytest.mark.parametrize(
    ("layout", "owners"),
    [
        *(("vertical", owners) for owners in (2, 3, 5)),
        *(("horizontal", owners) for owners in (2, 3, 5)),
        *(("mixed", owners) for owners in (3, 5)),  # it takes three to mix
    ],
)
@pytest.mark.parametrize("operation", ASKED)
def test_joint_result_equals_the_pooled_one(operation: str, layout: str, owners: int) -> None:
    tables, align = _divide(layout, owners)
    columns = _pooled().columns[1:]
    assert {name for table in tables.values() for name in table.column_names} >= set(columns)
    parameters = ASKED[operation]
    if operation == "describe":  # of a union, keys are columns like others
        parameters = clf.Describe(**(parameters.to_json() | {"columns": sorted(columns)}))
    # Without protected groups: what is hidden depends on how many people each owner has in them.
    found = operate(parameters, tables, align=align)
    expected = _expected(operation)
    if operation == "describe":
        expected = operate(parameters, _table(_pooled(), 1))
    _same(found, expected, operation)
