"""What one person changes in the aligned table is within the bound that is read off the job.

The alignment that runs in the enclave is run on tables with and without each person.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

import clf_sdk as clf
from clf_enclave._alignment import align
from clf_enclave._privacy._bound import _bound
from clf_enclave._workspace import Workspace
from clf_sdk.errors import InvalidJob
from clf_sdk.operations._contributions import contributions
from clf_sdk.protocol import AlignNode, InputNode, JoinKey, JoinNode

Rows = list[tuple[Any, ...]]
NAMES = ("a", "b", "c")
KEYS = ("x", "x", "x", "X", " x", "y", "", None)
COLUMNS = ("key", "other", "who", "value")

PLAIN = [clf.align.key("key")]
LOOSE = [clf.align.key("key", trim=True, fold_case=True)]
TWO = [clf.align.key("key"), clf.align.key("other")]
LOOSE_TWO = [clf.align.key("key", trim=True, fold_case=True), clf.align.key("other")]


def rows_of(name: str, draw: Random) -> Rows:
    """Return rows with few different values, so that keys and people repeat.

    They are drawn by a seed: hypothesis would look for the smallest tables, in which nothing
    repeats.
    """
    return [
        (
            draw.choice(KEYS),
            draw.choice(["p", "p", "q", None]),
            draw.choice(["x", "x", "y", "", None]),
            f"{name}{draw.randrange(4)}",
        )
        for _ in range(draw.randint(3, 8))
    ]


def table(rows: Rows) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(COLUMNS)
    return pa.table(
        {name: pa.array(column, pa.string()) for name, column in zip(COLUMNS, columns, strict=True)}
    )


@st.composite
def joins(draw: st.DrawFn, parts: tuple[Any, ...], keys: list[JoinKey]) -> AlignNode:
    keeper = draw(st.none() | st.integers(0, len(parts) - 1))
    members = []
    for number, part in enumerate(parts):
        prefix = f"m{number}_"
        own = prefix + ("m0_" if isinstance(part, JoinNode) else "")
        rules: list[Any] = [
            clf.align.first(f"{own}value"),
            clf.align.aggregate({f"{own}value": "max"}),
        ]
        rule: Any = "keep" if number == keeper else draw(st.sampled_from(rules))
        members.append(clf.align.member(part, duplicates=rule, prefix=prefix))
    return clf.align.join(*members, on=keys, how=draw(st.sampled_from(["inner", "left"])))


@st.composite
def trees(draw: st.DrawFn) -> AlignNode:
    keys = draw(st.sampled_from([PLAIN, LOOSE, TWO, LOOSE_TWO]))
    shape = draw(st.sampled_from(["two", "three", "united", "united two", "deep"]))
    parts: dict[str, tuple[Any, ...]] = {
        "two": ("a", "b"),
        "three": NAMES,
        "united": (clf.align.union("a", "b"), "c"),
        "united two": ("c", clf.align.union("a", "b")),
    }
    if shape != "deep":
        return draw(joins(parts[shape], keys))
    inner = draw(joins(("a", "b"), keys))
    return draw(joins((inner, "c") if draw(st.booleans()) else ("c", inner), keys))


def aligned(
    workspace: Workspace,
    tree: AlignNode,
    tables: Mapping[str, Rows],
    entities: Mapping[str, str],
    most: int,
) -> Counter[Any]:
    found = contributions(tree, entities, rows=most)
    bounded = {
        name: _bound(workspace, name, table(tables[name]), found[name].person, most)
        for name in found
    }
    data = align(workspace, tree, bounded, entities=entities).data
    return Counter(tuple(row.values()) for row in data.table(list(data.all_columns)).to_pylist())


def comparable(value: str | None, key: JoinKey) -> str | None:
    if value is None or not key.trim:
        return value
    return value.strip().lower() or None


def people_of(rows: Rows, kind: str, keys: list[JoinKey], entity: str | None) -> list[set[int]]:
    """Return the numbers of the rows of each person of an input."""
    found: dict[Any, set[int]] = {}
    for number, row in enumerate(rows):
        named = dict(zip(COLUMNS, row, strict=True))
        if entity is not None:
            who: Any = named[entity] or ""
        else:
            who = tuple(comparable(named[key.name], key) for key in keys) if kind == "key" else ()
            if kind == "row" or None in who:
                who = number
        found.setdefault(who, set()).add(number)
    return list(found.values())


def _check(
    tree: AlignNode, entities: Mapping[str, str], most: int, draw: Random
) -> Iterator[tuple[int, int]]:
    """Yield what each person of an input changes, and the bound of it."""
    found = contributions(tree, entities, rows=most)
    tables = {name: rows_of(name, draw) for name in found}
    name = draw.choice(sorted(found))
    contribution = found[name]
    keys = list(contribution.person.keys)
    with Workspace() as workspace:
        whole = aligned(workspace, tree, tables, entities, most)
        for numbers in people_of(tables[name], contribution.person.kind, keys, entities.get(name)):
            left = [row for number, row in enumerate(tables[name]) if number not in numbers]
            without = aligned(workspace, tree, tables | {name: left}, entities, most)
            yield (whole - without).total() + (without - whole).total(), contribution.rows


@pytest.mark.timeout(600)
@settings(deadline=None, max_examples=150)
@given(
    tree=trees(),
    entities=st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["who", "key"])),
    most=st.integers(1, 3),
    seed=st.integers(0, 2**64),
)
def test_one_person_changes_no_more_than_is_read_off_the_job(
    tree: AlignNode, entities: dict[str, str], most: int, seed: int
) -> None:
    try:
        for changed, bound in _check(tree, entities, most, Random(seed)):  # noqa: S311 - a test
            assert changed <= bound
    except InvalidJob:
        reject()


ONE, OTHER = clf.align.first("m0_value"), clf.align.first("m1_value")


def _pair(one: Any, other: Any, *, how: Any = "inner", keys: list[JoinKey] = PLAIN) -> AlignNode:
    return clf.align.join(
        clf.align.member("a", duplicates=one, prefix="m0_"),
        clf.align.member(clf.align.union("b", "c"), duplicates=other, prefix="m1_"),
        on=keys,
        how=how,
    )


@pytest.mark.parametrize(
    ("tree", "entities", "bounds"),
    [
        (InputNode(kind="input", input="a"), {}, {"a": 1}),
        (InputNode(kind="input", input="a"), {"a": "who"}, {"a": 2}),
        (clf.align.union("a", "b"), {"b": "who"}, {"a": 1, "b": 2}),
        (_pair(ONE, OTHER), {}, {"a": 1, "b": 2, "c": 2}),
        (_pair(ONE, OTHER, how="left"), {}, {"a": 1, "b": 2, "c": 2}),
        (_pair("keep", OTHER), {}, {"a": 2, "b": 4, "c": 4}),
        (_pair("keep", OTHER, how="left"), {}, {"a": 2, "b": 4, "c": 4}),
        (_pair(ONE, "keep"), {}, {"a": 4, "b": 2, "c": 2}),
        (_pair(ONE, "keep", how="left"), {}, {"a": 4, "b": 4, "c": 4}),
        (_pair(ONE, OTHER), {"a": "who"}, {"a": 4, "b": 2, "c": 2}),
        (_pair(ONE, OTHER), {"a": "key"}, {"a": 1, "b": 2, "c": 2}),
        (_pair(ONE, OTHER, how="left"), {"a": "key"}, {"a": 2, "b": 2, "c": 2}),
        (_pair(ONE, OTHER, keys=LOOSE), {"a": "key"}, {"a": 2, "b": 2, "c": 2}),
        (_pair("keep", OTHER, keys=LOOSE), {"a": "key"}, {"a": 4, "b": 4, "c": 4}),
        (_pair("keep", OTHER, keys=LOOSE), {}, {"a": 2, "b": 4, "c": 4}),
        (_pair(ONE, OTHER, keys=TWO), {"a": "key"}, {"a": 2, "b": 2, "c": 2}),
    ],
)
def test_bounds_are_these_and_some_data_comes_near_them(
    tree: AlignNode, entities: dict[str, str], bounds: dict[str, int]
) -> None:
    """With two rows of each person. A bound that is too small is met by a table that breaks it."""
    found = contributions(tree, entities, rows=2)
    assert {name: each.rows for name, each in found.items()} == bounds
    draw = Random(1)  # noqa: S311 - a test
    for _ in range(8):
        assert all(changed <= bound for changed, bound in _check(tree, entities, 2, draw))


def test_rows_of_the_base_without_a_key_can_all_be_one_person_s() -> None:
    """An empty text is a key, a missing one is none; to the owner both are the same person."""
    tree = _pair(clf.align.first("m0_value"), clf.align.first("m1_value"), how="left")
    rows: Rows = [("", "p", "x", "1"), (None, "p", "x", "2"), (None, "p", "x", "3")]
    tables = {"a": rows, "b": [], "c": []}
    with Workspace() as workspace:
        whole = aligned(workspace, tree, tables, {"a": "key"}, 3)
        without = aligned(workspace, tree, tables | {"a": []}, {"a": "key"}, 3)
    assert whole.total() - without.total() == 3
    assert contributions(tree, {"a": "key"}, rows=3)["a"].rows == 3
