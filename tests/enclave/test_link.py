"""Fuzzy linkage: who is found, whom no order of rows changes, and what messages hold."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import clf_sdk as clf
from clf_enclave._alignment import align
from clf_enclave._alignment._link import one_to_one
from clf_enclave._workspace import Workspace
from clf_sdk.errors import InvalidJob

PEOPLE = 300
SYLLABLES = ["an", "be", "cla", "do", "er", "fri", "ge", "hol", "in", "jo", "kar", "lu", "mar"]
COMPARE = {"first": "name", "last": "name", "born": "date", "city": "exact"}


def _people() -> dict[str, list[Any]]:
    rng = np.random.default_rng(11)

    def name(parts: int) -> str:
        return "".join(rng.choice(SYLLABLES, parts)).capitalize()

    first = dt.date(1930, 1, 1)
    return {
        "first": [name(2) for _ in range(PEOPLE)],
        "last": [name(3) for _ in range(PEOPLE)],
        "born": [first + dt.timedelta(days=int(day)) for day in rng.integers(0, 28_000, PEOPLE)],
        "city": [name(2) for _ in range(PEOPLE)],
        "truth": list(range(PEOPLE)),
    }


@pytest.fixture(scope="module")
def people() -> dict[str, pa.Table]:
    """Two registers: the second knows two thirds of the first, with typing errors, and others."""
    clean = _people()
    dirty = {name: list(values) for name, values in clean.items()}
    rng = np.random.default_rng(12)
    for row in rng.choice(PEOPLE, 60, replace=False):
        text = dirty["last"][row]
        dirty["last"][row] = text[:2] + text[3:] + "e"  # a letter lost, another added
    for row in rng.choice(PEOPLE, 40, replace=False):
        dirty["first"][row] = f" {dirty['first'][row].upper()} "
    dirty["born"] = [str(day) for day in dirty["born"]]
    return {
        "a": pa.table(clean).slice(0, 250),
        "b": pa.table(dirty).slice(50).rename_columns([*list(clean)[:4], "truth_b"]),
    }


def linked(tables: dict[str, pa.Table], threshold: float = 0.9) -> list[tuple[int, int]]:
    tree = clf.align.link(
        "a",
        "b",
        compare=COMPARE,
        block_on=["born", ["first", "city"], "last"],
        threshold=threshold,
        prefixes=("", "b_"),
    )
    with Workspace() as workspace:
        data = align(workspace, tree, tables, entities={}).data
        found = data.table(["truth", "b_truth_b"])
        assert data.count_persons() == {"a": data.rows, "b": data.rows}
        return list(zip(*(column.to_pylist() for column in found.columns), strict=True))


@pytest.fixture(scope="module")
def pairs(people: dict[str, pa.Table]) -> list[tuple[int, int]]:
    return linked(people)


def test_link_finds_people_in_spite_of_typing_errors(pairs: list[tuple[int, int]]) -> None:
    right = sum(ours == theirs for ours, theirs in pairs)
    assert right / len(pairs) > 0.98
    assert right / 200 > 0.9


def test_nobody_is_linked_twice(pairs: list[tuple[int, int]]) -> None:
    assert len({ours for ours, _ in pairs}) == len({theirs for _, theirs in pairs}) == len(pairs)


def test_link_does_not_depend_on_the_order_of_rows(
    people: dict[str, pa.Table], pairs: list[tuple[int, int]]
) -> None:
    rng = np.random.default_rng(1)
    shuffled = {name: table.take(rng.permutation(table.num_rows)) for name, table in people.items()}
    assert linked(shuffled) == pairs


def test_higher_threshold_links_fewer(
    people: dict[str, pa.Table], pairs: list[tuple[int, int]]
) -> None:
    assert set(linked(people, 0.9999)) <= set(pairs)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5))))
def test_one_to_one_keeps_the_likeliest(likely: list[tuple[int, int]]) -> None:
    kept = one_to_one(likely)
    assert len({left for left, _ in kept}) == len({right for _, right in kept}) == len(kept)
    for left, right in likely:  # each pair that was left out has a side in a likelier one
        before = kept[: kept.index((left, right))] if (left, right) in kept else kept
        assert (left, right) in kept or any(left == a or right == b for a, b in before)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"compare": {"first": "name", "weight": "name"}}, "no column 'weight'"),
        ({"block_on": ["truth"]}, "can't be blocked on 'truth'"),
        ({"prefixes": ("", "")}, "has a column 'first'"),
        ({"compare": {"first": "date"}, "block_on": ["first"]}, "can't be linked|compared"),
    ],
)
def test_links_that_make_no_sense_are_refused_without_a_value(
    people: dict[str, pa.Table], change: dict[str, Any], said: str
) -> None:
    options: dict[str, Any] = {
        "compare": COMPARE,
        "block_on": ["born", "last"],
        "threshold": 0.9,
        "prefixes": ("", "b_"),
    }
    tree = clf.align.link("a", "b", **(options | change))
    with Workspace() as workspace, pytest.raises(InvalidJob, match=said) as caught:
        align(workspace, tree, people, entities={})
    values = {str(each) for name in COMPARE for each in people["a"][name].to_pylist()}
    assert not any(value in str(caught.value) for value in values)


def test_threshold_below_one_half_is_no_threshold() -> None:
    with pytest.raises(InvalidJob, match="threshold"):
        clf.align.link("a", "b", compare={"x": "name"}, block_on=["x"], threshold=0.4)
