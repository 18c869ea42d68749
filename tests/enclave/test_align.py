from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_enclave._alignment import align, match_report
from clf_enclave._workspace import Workspace
from clf_sdk.errors import InvalidJob, PolicyRefused
from clf_sdk.protocol import AlignNode
from clf_testing import demand, demanding, joined


def aligned(tables: Mapping[str, pa.Table], tree: AlignNode) -> pa.Table:
    with Workspace() as workspace:
        data = align(workspace, tree, tables, entities={}).data
        return data.table(list(data.all_columns))


def inner_join(tables: Mapping[str, pa.Table], keys: Sequence[str]) -> pa.Table:
    return aligned(tables, joined(list(tables), keys))


def test_join_keeps_rows_that_every_input_has_in_key_order() -> None:
    joined = inner_join(
        {
            "a": pa.table({"k": [3, 1, 2, 9], "x": ["c", "a", "b", "z"]}),
            "b": pa.table({"y": [20.0, 10.0, 70.0], "k": [2, 1, 7]}),
            "c": pa.table({"k": [1, 2, 3], "z": [[1], [2, 2], None]}),
        },
        ["k"],
    )
    assert joined.to_pydict() == {
        "k": [1, 2],
        "x": ["a", "b"],
        "y": [10.0, 20.0],
        "z": [[1], [2, 2]],
    }


def test_join_on_two_keys_and_no_match() -> None:
    left = pa.table({"k": [1, 1], "d": ["x", "y"], "a": [1, 2]})
    right = pa.table({"d": ["y", "z"], "k": [1, 1], "b": [5, 6]})
    assert inner_join({"l": left, "r": right}, ["k", "d"]).to_pydict() == {
        "k": [1],
        "d": ["y"],
        "a": [2],
        "b": [5],
    }
    assert inner_join({"l": left, "r": right.slice(1)}, ["k", "d"]).num_rows == 0


def test_null_keys_match_nothing() -> None:
    left = pa.table({"k": [1, None], "a": [1, 2]})
    right = pa.table({"k": [None, 1], "b": [3, 4]})
    assert inner_join({"l": left, "r": right}, ["k"]).to_pydict() == {"k": [1], "a": [1], "b": [4]}


@pytest.mark.parametrize(
    ("left", "right", "said"),
    [
        ({"k": [1, 1], "a": [1, 2]}, {"k": [1], "b": [1]}, "not unique"),
        ({"a": [1]}, {"k": [1]}, "no key column"),
        ({"k": [1], "a": [1]}, {"k": ["1"], "b": [1]}, "has type"),
        ({"k": [1.5], "a": [1]}, {"k": [1.5], "b": [1]}, "has type"),
        ({"k": [1], "a": [1]}, {"k": [1], "a": [1]}, "both have a column"),
    ],
)
def test_inputs_that_can_not_be_joined_are_refused_without_a_value(
    left: dict[str, list[object]], right: dict[str, list[object]], said: str
) -> None:
    with pytest.raises(InvalidJob, match=said) as caught:
        inner_join({"l": pa.table(left), "r": pa.table(right)}, ["k"])
    assert "1.5" not in str(caught.value)


# -- keys ---------------------------------------------------------------------------------------


def keyed(left: Sequence[Any], right: Sequence[Any], **key: Any) -> list[tuple[int, int]]:
    """Return which rows of two inputs meet, by their numbers."""
    tree = clf.align.join("l", "r", on=clf.align.key("k", **key))
    tables = {
        "l": pa.table({"k": left, "a": range(len(left))}),
        "r": pa.table({"k": right, "b": range(len(right))}),
    }
    found = aligned(tables, tree)
    return sorted(zip(found["a"].to_pylist(), found["b"].to_pylist(), strict=True))


DAY = dt.date(2020, 1, 31)
MOMENT = dt.datetime(2020, 1, 31, 17, 5)  # noqa: DTZ001 - as a table without zones has it


@pytest.mark.parametrize(
    ("left", "right", "key", "expected"),
    [
        (["a ", "B", ""], ["a", "b", " "], {"trim": True}, [(0, 0)]),
        (["a ", "B"], ["a", "b"], {"trim": True, "fold_case": True}, [(0, 0), (1, 1)]),
        (["STRASSE", "É"], ["strasse", "e\u0301"], {"fold_case": True}, [(0, 0), (1, 1)]),
        ([7, 8], ["007", "8.0"], {"read_as": "number"}, [(0, 0), (1, 1)]),
        ([7.0, 8.5, None], ["7", "8", "x"], {"read_as": "number"}, [(0, 0)]),
        ([7, 8], ["7", "08"], {"read_as": "text"}, [(0, 0)]),
        ([DAY], ["2020-01-31"], {"read_as": "text"}, [(0, 0)]),
        ([DAY], [MOMENT], {"read_as": "date"}, [(0, 0)]),
        (
            [DAY, dt.date(2020, 2, 1)],
            [" 31.01.2020", "2020-02-01"],
            {"read_as": "date", "date_formats": ["%d.%m.%Y", "%Y-%m-%d"]},
            [(0, 0), (1, 1)],
        ),
        ([DAY], ["31/31/2020"], {"read_as": "date"}, []),
        (["1" * 30], ["1" * 30], {"read_as": "number"}, []),
    ],
)
def test_keys_are_made_comparable_as_declared(
    left: list[Any], right: list[Any], key: dict[str, Any], expected: list[tuple[int, int]]
) -> None:
    assert keyed(left, right, **key) == expected


def test_keys_have_columns_of_their_own_names() -> None:
    tree = clf.align.join(
        "l", clf.align.member("r", columns=["person", "year"]), on=["id", "y"], how="left"
    )
    tables = {
        "l": pa.table({"id": [2, 1, 3], "y": [5, 5, 5], "a": [20, 10, 30]}),
        "r": pa.table({"year": [5, 6], "person": [1, 2], "b": ["x", "y"]}),
    }
    assert aligned(tables, tree).to_pydict() == {
        "id": [1, 2, 3],
        "y": [5, 5, 5],
        "a": [10, 20, 30],
        "b": ["x", None, None],
    }


def test_missing_keys_can_be_refused_and_a_base_keeps_them() -> None:
    tables = {"l": pa.table({"k": [1, None], "a": [1, 2]}), "r": pa.table({"k": [1], "b": [3]})}
    with pytest.raises(InvalidJob, match="missing or can't be read"):
        aligned(tables, clf.align.join("l", "r", on="k", nulls="refuse"))
    kept = aligned(tables, clf.align.join("r", "l", on="k", how="left", base="l"))
    assert sorted(kept["a"].to_pylist()) == [1, 2]


def test_date_formats_hold_no_sql() -> None:
    for text in ("%Y'), ('", "x", "%Y\n", ""):
        with pytest.raises(InvalidJob, match="date_formats"):
            clf.align.key("k", read_as="date", date_formats=[text])


# -- duplicates, unions, trees ------------------------------------------------------------------

VISITS = pa.table(
    {
        "k": [1, 1, 2, None, 1],
        "day": [3, 1, 5, 9, 1],
        "cost": [10.0, 20.0, 5.0, 7.0, 30.0],
        "ill": [False, True, False, True, False],
    }
)
PERSONS = pa.table({"k": [2, 1, 3], "age": [50, 40, 60]})


def visits(duplicates: Any, **join: Any) -> dict[str, list[Any]]:
    member = clf.align.member("visits", duplicates=duplicates)
    tree = clf.align.join("persons", member, on="k", **join)
    shuffled = VISITS.take([4, 2, 0, 3, 1])
    found = aligned({"persons": PERSONS, "visits": VISITS}, tree)
    assert aligned({"persons": PERSONS, "visits": shuffled}, tree).equals(found)
    return dict(found.to_pydict())


def test_first_of_duplicates_does_not_depend_on_the_order_of_rows() -> None:
    found = visits(clf.align.first("day"))
    assert (found["k"], found["day"], found["cost"]) == ([1, 2], [1, 5], [20.0, 5.0])


def test_duplicates_are_aggregated() -> None:
    summaries = {"day": "max", "cost": "sum", "ill": "any"}
    found = visits(clf.align.aggregate(summaries), how="left")  # type: ignore[arg-type] # inferred as dict[str, str]
    assert found == {
        "k": [1, 2, 3],
        "age": [40, 50, 60],
        "day": [3, 5, None],
        "cost": [60.0, 5.0, None],
        "ill": [True, False, None],
    }
    with pytest.raises(InvalidJob, match="has no any"):
        visits(clf.align.aggregate({"ill": "all", "day": "any"}))


def test_one_member_may_keep_its_duplicates_so_that_no_join_blows_up() -> None:
    found = visits("keep")
    assert (found["k"], found["cost"]) == ([1, 1, 1, 2], [20.0, 30.0, 10.0, 5.0])
    members = [clf.align.member(name, duplicates="keep") for name in ("a", "b")]
    with pytest.raises(InvalidJob, match="only one member"):
        clf.align.join(*members, on="k")


def test_people_are_counted_once_however_often_a_join_repeats_them() -> None:
    many = pa.table({"k": [1] * 50 + [2] * 50, "cost": range(100)})
    two = pa.table({"k": [1, 2], "age": [40, 50]})
    tree = clf.align.join("two", clf.align.member("many", duplicates="keep"), on="k")
    with Workspace() as workspace:
        data = align(workspace, tree, {"two": two, "many": many}, entities={}).data
        assert data.rows == 100
        assert data.count_persons() == {"two": 2, "many": 100}
        demanding(demand(smallest_group=2)).check_group(data)
        with pytest.raises(PolicyRefused):
            demanding(demand(smallest_group=3)).check_group(data)
    with Workspace() as workspace:
        data = align(workspace, tree, {"two": two, "many": many}, entities={"many": "k"}).data
        assert data.count_persons() == {"two": 2, "many": 2}


def test_outer_rows_do_not_hide_how_few_people_matched() -> None:
    base = pa.table({"k": range(100)})
    one = pa.table({"k": [5], "secret": [1]})
    tree = clf.align.join("base", "one", on="k", how="left")
    with Workspace() as workspace:
        data = align(workspace, tree, {"base": base, "one": one}, entities={}).data
        assert data.rows == 100
        with pytest.raises(PolicyRefused):
            demanding(demand(smallest_group=10)).check_group(data)


def test_union_puts_rows_one_below_the_other_and_says_whose() -> None:
    tree = clf.align.union("north", "south", source="hospital")
    tables = {
        "north": pa.table({"k": [1, 2], "x": [1.5, 2.5]}),
        "south": pa.table({"x": [3.5], "k": [1]}),
    }
    assert aligned(tables, tree).to_pydict() == {
        "k": [1, 2, 1],
        "x": [1.5, 2.5, 3.5],
        "hospital": ["north", "north", "south"],
    }
    with Workspace() as workspace:
        data = align(workspace, tree, tables, entities={}).data
        assert data.count_persons() == {"north": 2, "south": 1}


@pytest.mark.parametrize(
    ("south", "said"),
    [
        ({"k": [1]}, "other columns: 'x'"),
        ({"k": [1], "x": [1.0], "z": [1]}, "other columns: 'z'"),
        ({"k": [1], "x": ["secret"]}, "is a number with a fraction in one input"),
    ],
)
def test_union_of_other_schemas_is_refused(south: dict[str, Any], said: str) -> None:
    tables = {"north": pa.table({"k": [1], "x": [1.5]}), "south": pa.table(south)}
    with pytest.raises(InvalidJob, match=said) as caught:
        aligned(tables, clf.align.union("north", "south"))
    assert "secret" not in str(caught.value)


def test_mixture_of_union_and_join() -> None:
    tree = clf.align.join(clf.align.union("north", "south", source="h"), "insurer", on="k")
    tables = {
        "north": pa.table({"k": [3, 1], "x": [30, 10]}),
        "south": pa.table({"k": [2, 9], "x": [20, 90]}),
        "insurer": pa.table({"k": [1, 2, 3, 4], "cost": [1.0, 2.0, 3.0, 4.0]}),
    }
    assert aligned(tables, tree).to_pydict() == {
        "k": [1, 2, 3],
        "x": [10, 20, 30],
        "h": ["north", "south", "north"],
        "cost": [1.0, 2.0, 3.0],
    }
    with Workspace() as workspace:
        data = align(workspace, tree, tables, entities={}).data
        assert data.count_persons() == {"north": 2, "south": 1, "insurer": 3}


def test_prefixes_keep_equal_names_apart() -> None:
    members = [clf.align.member(name, prefix=f"{name}_") for name in ("a", "b")]
    tables = {name: pa.table({"k": [1], "age": [age]}) for name, age in (("a", 3), ("b", 4))}
    found = aligned(tables, clf.align.join(*members, on="k"))
    assert found.to_pydict() == {"k": [1], "a_age": [3], "b_age": [4]}


def test_hostile_names_are_names() -> None:
    name = '"; DROP TABLE x; --'
    found = aligned(
        {"t": pa.table({name: [2, 1], "C1": [4, 3], "c1": [6, 5]})}, joined(["t"], [name])
    )
    assert found.to_pydict() == {name: [1, 2], "C1": [3, 4], "c1": [5, 6]}


@pytest.mark.parametrize(
    "column",
    [
        pa.array([[1], None]),
        pa.array(["a", "b"]).dictionary_encode(),
        pa.array([b"x", None]),
        pa.array([1, 2], pa.decimal128(20, 3)),
        pa.array([1, 2**63], pa.uint64()),
        pa.array([1, None], pa.timestamp("ns", "UTC")),
        pa.array([1, None], pa.time64("us")),
        pa.array([{"x": 1}, None]),
        pa.array([1.5, None], pa.float32()),
    ],
    ids=lambda column: str(column.type),
)
def test_values_of_every_type_come_through(column: pa.Array) -> None:
    found = aligned({"t": pa.table({"k": [2, 1], "x": column})}, joined(["t"], ["k"]))
    assert found["x"].to_pylist() == list(reversed(column.to_pylist()))


# -- match report -------------------------------------------------------------------------------


def report(smallest_group: int, left: int, right: int, both: int) -> dict[str, list[Any]]:
    tables = {
        "l": pa.table({"k": range(left), "a": [1.0] * left}),
        "r": pa.table({"k": range(left - both, left - both + right), "b": [1.0] * right}),
    }
    tree = clf.align.join("l", "r", on="k", how="left")
    with Workspace() as workspace:
        made = align(workspace, tree, tables, entities={}, matches=True)
        disclosure = demanding(demand(smallest_group=smallest_group))
        return dict(match_report(made.data, made.persons, disclosure).to_pydict())


def test_match_report_counts_who_found_a_partner() -> None:
    assert report(1, 40, 25, 10) == {
        "input": ["l", "r"],
        "persons": [40, 25],
        "matched": [10, 10],
        "rate": [0.25, 0.4],
    }


@pytest.mark.parametrize("both", [1, 9, 31, 39])
def test_match_report_hides_small_numbers_and_those_they_follow_from(both: int) -> None:
    found = report(10, 40, 40, both)
    for name in ("persons", "matched", "rate"):
        assert found[name] == [None, None]


def test_match_report_shows_that_all_or_nobody_matched() -> None:
    assert report(10, 40, 40, 40)["matched"] == [40, 40]
    assert report(10, 40, 40, 0)["rate"] == [0.0, 0.0]
