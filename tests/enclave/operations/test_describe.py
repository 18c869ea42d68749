from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_sdk.errors import InvalidJob, PolicyRefused
from clf_testing import demand, operate


def _frame(rows: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(
        {
            "age": rng.integers(20, 90, rows),
            "cost": rng.lognormal(size=rows),
            "smokes": rng.random(rows) < 0.3,
            "region": rng.choice(["north", "south", "west"], rows, p=[0.5, 0.3, 0.2]),
        }
    )
    frame.loc[:19, "cost"] = np.nan
    return frame


def _describe(frame: pd.DataFrame, smallest_group: int = 1, **asked: Any) -> dict[str, Any]:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    return operate(clf.Describe(**asked), table, rules=[demand(smallest_group=smallest_group)])


def test_describe_equals_pandas() -> None:
    frame = _frame()
    found = _describe(frame, smallest_group=5)
    columns = found["columns"].to_pandas().set_index("column")
    for name in ("age", "cost"):
        values = frame[name].dropna()
        assert columns.loc[name, "count"] == len(values)
        assert columns.loc[name, "missing"] == frame[name].isna().sum()
        expected = [values.mean(), values.std(), values.skew(), values.kurt()]
        expected += list(values.quantile([0.05, 0.25, 0.5, 0.75, 0.95]))
        columns_asked = ["mean", "std", "skewness", "kurtosis", "q5", "q25", "q50", "q75", "q95"]
        np.testing.assert_allclose(
            columns.loc[name, columns_asked].to_numpy(float),
            np.array(expected, dtype=float),
            rtol=1e-10,
        )
    categories = found["categories"].to_pandas()
    regions = categories[categories["column"] == "region"].set_index("category")["count"]
    assert regions.to_dict() == frame["region"].value_counts().to_dict()
    correlation = found["correlations"].to_pylist()
    assert [(each["first"], each["second"]) for each in correlation] == [("age", "cost")]
    assert correlation[0]["correlation"] == pytest.approx(frame["age"].corr(frame["cost"]))


def test_cross_tabulation_equals_pandas() -> None:
    frame = _frame()
    found = _describe(frame, cross_tabulations=[("region", "smokes")])["cross_tabulations"]
    expected = pd.crosstab(frame["region"], frame["smokes"])
    counted = {
        (row["first_category"], row["second_category"]): row["count"] for row in found.to_pylist()
    }
    for region in expected.index:
        for smokes in (False, True):
            assert counted[region, str(smokes).lower()] == expected.loc[region, smokes]


def test_rare_category_and_one_more_are_left_out() -> None:
    frame = _frame()
    frame.loc[0, "region"] = "isle"
    found = _describe(frame, smallest_group=5)["categories"].to_pandas()
    shown = set(found[found["column"] == "region"]["category"])
    assert shown == {"north", "south"}  # the west would give the isle away


def test_few_missing_values_are_not_counted() -> None:
    frame = _frame()
    frame["cost"] = frame["cost"].fillna(1.5)
    frame.loc[:2, "cost"] = np.nan
    row = _describe(frame, smallest_group=5)["columns"].to_pylist()[1]
    assert (row["column"], row["count"], row["missing"], row["mean"]) == ("cost", None, None, None)


def test_mean_of_a_column_in_which_few_differ_is_not_given() -> None:
    frame = _frame()
    frame["fee"] = 0.0
    frame.loc[7, "fee"] = 12345.0
    found = _describe(frame, smallest_group=5)
    row = found["columns"].to_pylist()[-1]
    assert row["column"] == "fee"
    assert [row[name] for name in ("mean", "std", "skewness", "kurtosis", "q95")] == [None] * 5
    pairs = [row for row in found["correlations"].to_pylist() if row["second"] == "fee"]
    assert [row["correlation"] for row in pairs] == [None, None]


def test_extreme_quantiles_need_a_whole_group_beyond() -> None:
    frame = _frame()
    found = _describe(frame, smallest_group=10, quantiles=[0.01, 0.5, 0.99])["columns"]
    row = found.to_pylist()[1]
    assert (row["q1"], row["q99"]) == (None, None)
    assert row["q50"] == pytest.approx(frame["cost"].quantile(0.5))


def test_too_few_people_are_refused() -> None:
    with pytest.raises(PolicyRefused):
        _describe(_frame(30), smallest_group=31)


@pytest.mark.parametrize(
    "asked",
    [
        {"columns": ["nothing"]},
        {"cross_tabulations": [("region", "region")]},
        {"cross_tabulations": [("region", "cost")]},
        {"quantiles": [0.5, 0.5]},
        {"quantiles": [1.5]},
    ],
)
def test_what_can_not_be_described_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(InvalidJob):
        _describe(_frame(), **asked)
