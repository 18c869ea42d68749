"""What one person changes in the aligned table is within the bound that is read off the job.

The alignment that runs in the enclave is run on tables with and without each person.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
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
KEYS = ("x", "X", " x", "y", "z", "", None)
COLUMNS = ("key", "other", "who", "value")

PLAIN = [clf.align.key("key")]
LOOSE = [clf.align.key("key", trim=True, fold_case=True)]
TWO = [clf.align.key("key"), clf.align.key("other")]
LOOSE_TWO = [clf.align.key("key", trim=True, fold_case=True), clf.align.key("other")]


def rows_of(name: str) -> st.SearchStrategy[Rows]:
    """Return few rows with few different values, so that keys and people repeat."""
    row = st.tuples(
        st.sampled_from(KEYS),
        st.sampled_from(["p", "q", None]),
        st.sampled_from(["x", "y", "", None]),
        st.integers(0, 3).map(lambda value: f"{name}{value}"),
    )
    return st.lists(row, max_size=7)


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
            "refuse",
            clf.align.first(f"{own}value"),
            clf.align.aggregate({f"{own}value": "max"}),
        ]
        rule: Any = "keep" if number == keeper else draw(st.sampled_from(rules))
        members.append(clf.align.member(part, duplicates=rule, prefix=prefix))
    return clf.align.join(*members, on=keys, how=draw(st.sampled_from(["inner", "left"])))


@st.composite
def trees(draw: st.DrawFn) -> AlignNode:
    keys = draw(st.sampled_from([PLAIN, LOOSE, TWO, LOOSE_TWO]))
    shape = draw(st.sampled_from(["one", "two", "three", "union", "united", "united two", "deep"]))
    if shape == "one":
        return InputNode(kind="input", input="a")
    if shape == "union":
        return clf.align.union("a", "b", "c")
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


@settings(deadline=None, max_examples=150)
@given(
    tree=trees(),
    tables=st.fixed_dictionaries({name: rows_of(name) for name in NAMES}),
    entities=st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["who", "key"])),
    most=st.integers(1, 3),
    data=st.data(),
)
def test_one_person_changes_no_more_than_is_read_off_the_job(
    tree: AlignNode,
    tables: dict[str, Rows],
    entities: dict[str, str],
    most: int,
    data: st.DataObject,
) -> None:
    try:
        found = contributions(tree, entities, rows=most)
    except InvalidJob:
        reject()
    name = data.draw(st.sampled_from(sorted(found)))
    contribution = found[name]
    keys = list(contribution.person.keys)
    people = people_of(tables[name], contribution.person.kind, keys, entities.get(name))
    numbers = data.draw(st.sampled_from(people or [set()]))
    left = [row for number, row in enumerate(tables[name]) if number not in numbers]
    with Workspace() as workspace:
        whole = aligned(workspace, tree, tables, entities, most)
        without = aligned(workspace, tree, tables | {name: left}, entities, most)
    changed = (whole - without).total() + (without - whole).total()
    assert changed <= contribution.rows
