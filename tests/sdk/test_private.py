"""Statistics with noise as analysts ask for them, and what owners read of that."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_sdk._job_words import describe_document
from clf_sdk.errors import InvalidJob
from clf_sdk.operations import PrivateStatistics, in_words, millionths
from clf_sdk.protocol import TableDescription
from clf_testing import job_input, joined, make_job

COUNT = clf.private.count(epsilon=0.5)
AGE = clf.private.mean("age", lower=0, upper=120, epsilon=1)


def ask(*statistics: Any, **more: Any) -> PrivateStatistics:
    return PrivateStatistics(statistics=statistics, **more)


def test_parameters_survive_a_job() -> None:
    asked = ask(COUNT, AGE, clf.private.histogram("sex", categories=["m"], epsilon=0.25))
    assert PrivateStatistics.parse(asked.to_json()) == asked
    assert asked.epsilon_millionths() == 1_750_000
    assert [each.name for each in asked.statistics] == ["count", "mean_age", "histogram_sex"]


@pytest.mark.parametrize("epsilon", [0, -1, 101, 1e308, math.nan, math.inf, 1e-7, True, "1", None])
def test_epsilon_that_makes_no_sense_is_refused(epsilon: Any) -> None:
    with pytest.raises(InvalidJob, match="epsilon"):
        clf.private.count(epsilon=epsilon)


@pytest.mark.parametrize(
    ("lower", "upper"),
    [
        (math.nan, 1),
        (0, math.nan),
        (-math.inf, 1),
        (0, math.inf),
        (1, 1),
        (2, 1),
        (0, 1e300),
        (0, 5e-324),
        ("0", 1),
        (None, 1),
    ],
)
@pytest.mark.parametrize("make", [clf.private.sum, clf.private.mean])
def test_bounds_that_make_no_sense_are_refused(
    make: Callable[..., Any], lower: Any, upper: Any
) -> None:
    with pytest.raises(InvalidJob):
        make("age", lower=lower, upper=upper, epsilon=1)


@pytest.mark.parametrize(
    "cells",
    [
        {},
        {"categories": []},
        {"categories": ["a", "a"]},
        {"categories": ["a"], "edges": [1]},
        {"edges": []},
        {"edges": [2, 1]},
        {"edges": [1, 1]},
        {"edges": [math.nan]},
        {"edges": [math.inf]},
        {"categories": [str(number) for number in range(1001)]},
    ],
    ids=",".join,
)
def test_cells_that_make_no_sense_are_refused(cells: dict[str, Any]) -> None:
    with pytest.raises(InvalidJob):
        clf.private.histogram("age", epsilon=1, **cells)


@pytest.mark.parametrize(
    "make",
    [
        ask,
        lambda: ask(COUNT, COUNT),
        lambda: ask(COUNT, max_rows_per_person=0),
        lambda: ask(COUNT, max_rows_per_person=1001),
        lambda: ask(*(clf.private.count(f"c{number}", epsilon=1) for number in range(101))),
        lambda: clf.private.mean("age", lower=0, upper=1, missing=math.nan, epsilon=1),
        lambda: clf.private.count("Not a name", epsilon=1),
    ],
)
def test_other_mistakes_are_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(InvalidJob):
        make()


def test_millionths_are_exact() -> None:
    assert [millionths(each) for each in (0.1, 0.3, 0.000001, 99.999999, 100)] == [
        100_000,
        300_000,
        1,
        99_999_999,
        100_000_000,
    ]
    assert in_words(millionths(0.1) + millionths(0.2)) == "ε 0.3"
    assert in_words(100_000_000) == "ε 100"
    for wrong in (0.1234567, math.nan, math.inf):
        with pytest.raises(ValueError, match="six decimals"):
            millionths(wrong)


def _job(asked: PrivateStatistics, **more: Any) -> clf.Job:
    inputs = [job_input("0a" * 32, "a"), job_input("0b" * 32, "b")]
    document = make_job(
        inputs,
        operation=asked.operation,
        parameters=asked.to_json(),
        **({"align": joined(["a", "b"])} | more),
    )
    return clf.Job.of(document, endpoints=[])


TABLES = {
    "a": pa.table({"id": range(300), "age": [float(n % 90) for n in range(300)]}),
    "b": pa.table({"id": range(300)}),
}


def test_owner_reads_what_a_job_costs() -> None:
    said = describe_document(_job(ask(COUNT, AGE)).document, {})["Comes out"]
    assert said == [
        "numbers with noise; each run spends ε 1.5 of every table's privacy budget",
        "count: how many rows, with noise of ε 0.5",
        "mean_age: mean of age between 0.0 and 120.0, with noise of ε 1",
    ]


def test_explanation_says_what_the_job_costs(policy: clf.Policy) -> None:
    budgeted = clf.Policy(
        enclave=policy.enclave, operations=["private_statistics"], privacy_budget=2.0
    )
    said = str(budgeted.explain(_job(ask(COUNT, AGE)), table="a"))
    assert "the job spends ε 1.5 each time that it runs, and there was ε 2 in the beginning" in said
    assert "REFUSED" not in said
    refused = str(budgeted.explain(_job(ask(COUNT, AGE), match_report=True), table="a"))
    assert "results with noise come without a match report" in refused


def test_dry_run_says_shape_and_cost(policy: clf.Policy) -> None:
    enough, little = (
        clf.Policy(enclave=policy.enclave, operations=["private_statistics"], privacy_budget=each)
        for each in (2.0, 1.0)
    )
    found = clf.dry_run(_job(ask(COUNT, AGE)), tables=TABLES, policies=[enough])
    assert found.epsilon == 1.5
    assert found.shapes == {"statistics": "2 rows, 7 columns"}
    assert found.refused == ()
    assert found.rules == [
        "each run spends ε 1.5 of every table's privacy budget",
        "statistics: checked privacy_budget; nothing hid",
    ]
    again = clf.dry_run(_job(ask(COUNT, AGE)), tables=TABLES, policies=[little, policy])
    assert [error.rule for error in again.refused] == ["privacy_budget"] * 2
    assert again.rules[0].startswith("privacy_budget refuses: the job spends ε 1.5")


def test_owner_is_told_what_is_left_of_its_table_s_budget(policy: clf.Policy) -> None:
    budgeted = clf.Policy(
        enclave=policy.enclave, operations=["private_statistics"], privacy_budget=2.0
    )
    description = TableDescription.parse(
        {
            "name": "a",
            "version": "cd" * 32,
            "version_id": "ef" * 16,
            "rows": 5,
            "row_groups": 1,
            "columns": [],
            "sealed_bytes": 10,
            "created_at": 1,
            "policy": None,
            "privacy": {"total_millionths": 2_000_000, "spent_millionths": 600_000},
        }
    )
    stand_in: Any = SimpleNamespace(server="0a" * 32)
    table = clf.SharedTable(stand_in, description)
    assert table.epsilon_left == 1.4
    said = str(budgeted.explain(_job(ask(COUNT, AGE)), table=table))
    assert "refused by privacy_budget" in said
    assert "spends ε 1.5 each time that it runs, and ε 1.4 of ε 2 is left" in said
