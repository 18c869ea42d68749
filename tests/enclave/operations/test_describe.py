from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_enclave._alignment import align
from clf_enclave._data import AlignedData
from clf_enclave._operations._context import Context
from clf_enclave._operations._describe import run
from clf_enclave._spill import Stream
from clf_enclave._workspace import Workspace
from clf_sdk.errors import InvalidJob, PolicyRefused
from clf_sdk.protocol import InputNode
from clf_testing import demand, demanding, operate


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


class Names(Stream):
    """Rows of people's names, each another, and a number; made while they are read."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.schema = self._batch(0).schema

    def _batch(self, start: int) -> pa.RecordBatch:
        numbers = np.arange(start, start + 20_000)
        names = [f"a person called {number:030d}" for number in numbers]
        return pa.RecordBatch.from_pydict({"name": names, "x": np.sin(numbers)})

    def batches(self) -> Iterator[pa.RecordBatch]:
        """See `Stream.batches`."""
        for start in range(0, self.rows, 20_000):
            yield self._batch(start)


def _streamed(workspace: Workspace, rows: int) -> AlignedData:
    tree = InputNode(kind="input", input="t")
    return align(workspace, tree, {"t": Names(rows)}, entities={}).data


def test_memory_does_not_grow_with_the_number_of_categories() -> None:
    rows, limit = 400_000, 32 << 20
    rules = demanding(demand(smallest_group=10))
    with Workspace(limit) as workspace:
        data = _streamed(workspace, rows)
        with pytest.raises(InvalidJob, match="more memory"):  # what keeps each of them ends so
            workspace.one(f"SELECT count(DISTINCT {data.sql('name')}) FROM {data.relation}")  # noqa: S608 - names of ours
    with Workspace(limit) as workspace:
        found = run(Context(clf.Describe(), _streamed(workspace, rows), rules, bytes(32)))
        columns, categories = found["columns"], found["categories"]
        assert isinstance(columns, pa.Table)
        assert isinstance(categories, pa.Table)
        assert columns["count"].to_pylist() == [rows, rows]
        assert categories.num_rows == 0
    with Workspace(limit) as workspace:
        asked = clf.Describe(columns=["name"], cross_tabulations=[("name", "x")])
        with pytest.raises(InvalidJob, match="'name' has too many different values"):
            run(Context(asked, _streamed(workspace, rows), rules, bytes(32)))


@pytest.mark.parametrize("order", ["first", "last", "mixed", "apart"])
def test_value_that_most_have_is_found_among_many(order: str) -> None:
    """Else the mean of a column in which all but a few have one value would be shown."""
    rows, few = 300_000, 149_000
    values = np.concatenate([np.full(rows - few, 7.25), np.arange(few) + 0.5])
    places = {
        "first": np.arange(rows),
        "last": np.arange(rows)[::-1],
        "mixed": np.random.default_rng(1).permutation(rows),
        "apart": np.argsort(np.concatenate([np.arange(rows - few) * 2, np.arange(few) * 2 + 1])),
    }
    table = pa.table({"x": values[places[order]]})
    for streamed in (False, True):
        asked = clf.Describe(columns=["x"])
        for smallest, shown in ((few, True), (few + 1, False)):
            rules = [demand(smallest_group=smallest)]
            found = operate(asked, table, rules=rules, streamed=streamed)["columns"]
            assert isinstance(found, pa.Table)
            assert (found["mean"][0].as_py() is not None) == shown
