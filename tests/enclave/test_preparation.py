"""Preparation: what steps compute, and what they must not let through."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_enclave._alignment import align
from clf_enclave._preparation import prepare
from clf_enclave._workspace import Workspace
from clf_sdk.errors import ClfError, InvalidExpression, InvalidJob, PolicyRefused
from clf_sdk.protocol import PrepareStep
from clf_testing import demand, demanding, joined, operate

DATA: dict[str, Any] = {
    "id": list(range(8)),
    "a": [1.0, 2.0, None, 4.0, float("nan"), 6.0, 7.0, 8.0],
    "n": [1, 2, 3, 4, 5, 6, 7, None],
    "s": ["x", "y", "x", None, "x", "Y ", "z", "x"],
    "b": [True, False, None, True, True, False, False, True],
    "d": [dt.date(2020, 1, day) for day in range(1, 9)],
}


def prepared(
    *steps: PrepareStep, data: dict[str, Any] | None = None, smallest_group: int = 1
) -> pa.Table:
    disclosure = demanding(demand(smallest_group=smallest_group))
    with Workspace() as workspace:
        tree = joined(["t"])
        table = pa.table(data or DATA)
        made = prepare(align(workspace, tree, {"t": table}, entities={}).data, steps, disclosure)
        return made.table(list(made.all_columns))


def derived(expression: str, **data: Sequence[Any]) -> list[Any]:
    step = clf.prepare.derive("made", expression)
    return list(prepared(step, data={**DATA, **data})["made"].to_pylist())


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("n + 1", [2, 3, 4, 5, 6, 7, 8, None]),
        ("a / 0", [None] * 8),
        ("sqrt(-1 * n)", [None] * 8),
        ("ln(n - 1)", [None, *np.log(range(1, 7)), None]),
        ("exp(n * 1000)", [None] * 8),
        ("CASE WHEN a > 3 THEN 'high' WHEN a <= 3 THEN 'low' END",
         ["low", "low", None, "high", None, "high", "high", "high"]),
        ("coalesce(a, 0)", [1, 2, 0, 4, 0, 6, 7, 8]),
        ("upper(trim(s))", ["X", "Y", "X", None, "X", "Y", "Z", "X"]),
        ("s LIKE 'x%' OR b", [True, False, True, True, True, False, False, True]),
        ("date_diff('day', DATE '2020-01-01', d)", list(range(8))),
        ("d >= '2020-01-05'", [False] * 4 + [True] * 4),
        ("TRY_CAST(s AS BIGINT)", [None] * 8),
        ("n BETWEEN 2 AND 4 AND s IN ('x', 'z')",
         [False, False, True, None, False, False, False, None]),
        ("nullif(n, 3)", [1, 2, None, 4, 5, 6, 7, None]),
        ("round(a, 0) % 4", [1, 2, None, 0, None, 2, 3, 0]),
        ("left(s, 1) || '!'", ["x!", "y!", "x!", None, "x!", "Y!", "z!", "x!"]),
        ("greatest(n, 4)", [4, 4, 4, 4, 5, 6, 7, 4]),
    ],
)  # fmt: skip
def test_expressions_compute(expression: str, expected: list[Any]) -> None:
    found = derived(expression)
    assert [pytest.approx(each) if isinstance(each, float) else each for each in expected] == found


@pytest.mark.parametrize(
    "expression",
    [
        "(SELECT max(a) FROM input1)",
        "read_csv('/etc/passwd')",
        "read_text('/etc/passwd')",
        "getenv('HOME')",
        "current_setting('memory_limit')",
        "a; DROP TABLE x",
        "a; SET threads = 1",
        "sum(a)",
        "row_number() OVER ()",
        "a::INT[]",
        "t.a",
        "*",
        "rowid",
        "random()",
        "regexp_replace(s, 'a', 'b')",
        "repeat(s, 1000000000)",
        "error('x')",
        "CASE a WHEN 1 THEN 2 END",
        "a > (SELECT 1)",
        "EXISTS (SELECT 1)",
        "s = 1",
        "a + s",
        "lower(a)",
        "year(a)",
        "1e5",
        "99999999999999999999",
        "$1",
        "?",
        "a COLLATE nocase",
        "[a]",
        "{'x': a}",
        "x -> x + 1",
        "TRY(a)",
        "'",
        "(" * 500 + "a" + ")" * 500,
    ],
)
def test_expressions_that_are_not_on_the_list_do_not_run(expression: str) -> None:
    with pytest.raises(InvalidExpression):
        derived(expression)


FAR = "CAST(CASE WHEN n = 5 THEN '5000000-01-01' ELSE '2020-01-31' END AS DATE)"
"""A date that there is no timestamp of, for one person alone."""


@pytest.mark.parametrize(
    "expression",
    [
        "CAST(s AS BIGINT)",
        "CAST(s AS DATE)",
        "CAST(n AS DOUBLE) * 9999999999 * 999999999999999999",
        "n * n * n * n * n * n * n * n * n * n * n * n * n * n * n * n",
        "ln(n - 5)",
        "pow(n - 5, 0.5)",
        "n / (n - 5)",
        "n % (n - 5)",
        "CASE WHEN n = 5 THEN exp(exp(n * 100)) ELSE 1 END",
        "CAST(a * 999999999999999999 * 100 AS BIGINT)",
        f"{FAR} > TIMESTAMP '2020-01-01 00:00:00'",
        f"coalesce({FAR}, TIMESTAMP '2020-01-01 00:00:00')",
        f"date_diff('week', {FAR}, TIMESTAMP '2020-01-01 00:00:00')",
        f"CAST({FAR} AS VARCHAR) || year({FAR})::VARCHAR",
    ],
)
def test_no_value_makes_an_expression_fail(expression: str) -> None:
    secret = ["4711-secret"] * 8
    assert len(derived(expression, s=secret)) == 8


def test_one_text_that_doubles_itself_does_not_take_all_memory() -> None:
    first = clf.prepare.derive("made", "CASE WHEN n = 5 THEN 'xyz' ELSE '' END")
    found = prepared(first, *[clf.prepare.derive("made", "made || made")] * 40)["made"]
    assert sorted(map(len, found.to_pylist())) == [0] * 7 + [10_000]


def test_columns_are_found_by_their_exact_names() -> None:
    data = {"id": [1, 2], "Age": [10, 20], "age": [1, 2], 'we"ird; name': [5, 6]}
    step = clf.prepare.derive("made", '"Age" + age + "we""ird; name"')
    assert prepared(step, data=data)["made"].to_pylist() == [16, 28]
    with pytest.raises(InvalidExpression, match="did you mean") as caught:
        prepared(clf.prepare.derive("x", "agee + 1"), data=data)
    assert "step 1" in str(caught.value)


def test_filter_keeps_true_rows_only_and_counts_them() -> None:
    step = clf.prepare.filter("a > 1 AND n < 7")
    assert prepared(step)["id"].to_pylist() == [1, 3, 5]
    with pytest.raises(PolicyRefused) as caught:
        prepared(step, smallest_group=4)
    assert caught.value.rule == "smallest_group"
    with pytest.raises(InvalidExpression, match="a condition is true or false"):
        prepared(clf.prepare.filter("a + 1"))


def test_bins_by_number_and_label() -> None:
    found = prepared(clf.prepare.bin("n", [2, 5]))["n"].to_pylist()
    assert found == [0, 1, 1, 1, 2, 2, 2, None]
    step = clf.prepare.bin("a", [4], labels=["low", "high"])
    expected = ["low", "low", None, "high", None, "high", "high", "high"]
    assert prepared(step)["a"].to_pylist() == expected
    with pytest.raises(InvalidJob, match="rise"):
        clf.prepare.bin("a", [4, 4])
    with pytest.raises(InvalidJob, match="one label more"):
        clf.prepare.bin("a", [4], labels=["a", "b", "c"])


def test_standardise_equals_pandas_and_learns_from_training_rows_alone() -> None:
    values = pd.Series(DATA["n"], dtype="float64")
    found = prepared(clf.prepare.standardise(["n"]))["n"].to_pandas()
    pd.testing.assert_series_equal(
        found, (values - values.mean()) / values.std(), check_names=False
    )
    table = prepared(clf.prepare.split(seed=3, test_fraction=0.5), clf.prepare.standardise("n"))
    training = values[~table["is_test"].to_pandas()]
    expected = (values - training.mean()) / training.std()
    pd.testing.assert_series_equal(table["n"].to_pandas(), expected, check_names=False)
    with pytest.raises(InvalidJob, match="constant"):
        prepared(clf.prepare.standardise("c"), data={"id": [1, 2], "c": [3, 3]})


def test_one_hot_has_no_column_for_what_few_people_have() -> None:
    found = prepared(clf.prepare.one_hot("s"), smallest_group=2)
    assert found.column_names == ["id", "a", "n", "b", "d", "s=x"]
    assert found["s=x"].to_pylist() == [1, 0, 1, None, 1, 0, 0, 1]
    assert "s=z" in prepared(clf.prepare.one_hot("s"), smallest_group=1).column_names
    with pytest.raises(PolicyRefused) as caught:
        prepared(clf.prepare.one_hot("s", categories=["x", "z"]), smallest_group=2)
    assert caught.value.rule == "smallest_group"
    named = prepared(clf.prepare.one_hot("b", categories=["true", "false"], drop_first=True))
    assert [name for name in named.column_names if "=" in name] == ["b=false"]


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (clf.prepare.impute("n"), 4.0),
        (clf.prepare.impute("n", "median"), 4.0),
        (clf.prepare.impute("n", "value", value=-1), -1),
    ],
)
def test_impute_fills_numbers(step: PrepareStep, expected: float) -> None:
    assert prepared(step)["n"].to_pylist() == [*range(1, 8), expected]


def test_impute_fills_other_kinds() -> None:
    assert prepared(clf.prepare.impute("s", "mode"))["s"].to_pylist()[3] == "x"
    assert prepared(clf.prepare.impute("b", "value", value=True))["b"].to_pylist()[2] is True
    assert prepared(clf.prepare.impute("a", "mean"))["a"].to_pylist()[4] == pytest.approx(28 / 6)
    for step in (
        clf.prepare.impute("s", "mean"),
        clf.prepare.impute("s", "value", value=1),
        clf.prepare.impute("n", "value", value="x"),
        clf.prepare.impute("n", "value", value=1.5),
    ):
        with pytest.raises(InvalidJob):
            prepared(step)


def test_split_depends_on_keys_and_seed_alone() -> None:
    def expected(seed: int) -> list[bool]:
        hashed = (hashlib.md5(f"{seed}/{key}".encode()).hexdigest() for key in DATA["id"])  # noqa: S324 - no secret
        return [int(digest[:16], 16) / 2**64 < 0.5 for digest in hashed]

    for seed in (1, 2):
        step = clf.prepare.split(seed=seed, test_fraction=0.5)
        assert prepared(step)["is_test"].to_pylist() == expected(seed)
    assert expected(1) != expected(2)
    with pytest.raises(InvalidJob, match="divided twice"):
        prepared(clf.prepare.split(seed=1), clf.prepare.split(seed=2, column="again"))


def test_select_keeps_keys_and_derived_columns_know_their_sources() -> None:
    tables = {
        "north": pa.table({"id": [1, 2], "x": [1.0, 2.0]}),
        "south": pa.table({"id": [1, 2], "y": [3.0, 4.0]}),
    }
    with Workspace() as workspace:
        data = align(workspace, joined(["north", "south"]), tables, entities={}).data
        steps: list[PrepareStep] = [clf.prepare.derive("z", "x * y"), clf.prepare.select("z")]
        made = prepare(data, steps, demanding())
        assert made.columns == ["z"]
        assert made.keys == ("id",)
        assert made.all_columns["z"].sources == {"north", "south"}
        assert made.table().to_pydict() == {"z": [3.0, 8.0]}


@pytest.mark.parametrize(
    "step",
    [
        clf.prepare.derive("id", "a"),
        clf.prepare.bin("id", [1]),
        clf.prepare.standardise("id"),
        clf.prepare.select("nothing"),
        clf.prepare.one_hot("a"),
        clf.prepare.bin("s", [1]),
    ],
)
def test_steps_that_do_not_fit_name_themselves_and_no_value(step: PrepareStep) -> None:
    with pytest.raises(ClfError, match="step 1") as caught:
        prepared(step)
    assert "2020" not in str(caught.value)


def test_prepared_job_equals_the_pooled_computation() -> None:
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"id": range(300), "x": rng.normal(size=300), "u": rng.normal(size=300)})
    frame["y"] = rng.poisson(np.exp(0.2 + 0.3 * frame["x"] * frame["u"]))
    steps: list[PrepareStep] = [clf.prepare.filter("x > -2"), clf.prepare.derive("xu", "x * u")]
    glm = clf.GLM(outcome="y", predictors=["xu"], family="poisson")
    joint = operate(
        glm,
        {
            "a": pa.Table.from_pandas(frame[["id", "x"]].sample(frac=1, random_state=1)),
            "b": pa.Table.from_pandas(frame[["id", "u", "y"]]),
        },
        align=joined(["a", "b"]),
        prepare=steps,
    )
    pooled = frame[frame["x"] > -2].assign(xu=frame["x"] * frame["u"])
    alone = operate(glm, pa.Table.from_pandas(pooled, preserve_index=False))
    found, expected = joint["coefficients"], alone["coefficients"]
    assert isinstance(found, pa.Table)
    assert isinstance(expected, pa.Table)
    np.testing.assert_allclose(found["coefficient"], expected["coefficient"], rtol=1e-8)
