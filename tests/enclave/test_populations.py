"""Sets of people are the same however rows come, and are too close if they differ by a few."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clf_enclave import _populations
from clf_enclave._disclosure import Disclosure
from clf_enclave._populations import Population, read_sets, sizes_too_close, too_close
from clf_sdk.align import join, union
from clf_sdk.errors import Malformed
from clf_sdk.operations import Aggregate, Describe
from clf_sdk.protocol import FilterStep, GrantedInput
from clf_testing import demand, operate

COUNT = Aggregate(sql="SELECT COUNT(*) AS n FROM data")
PEOPLE = pa.table({"id": list(range(60)), "g": ["abc"[n % 3] for n in range(60)]})


def remembering(*names: str, entity: str | None = None, secret: bytes = bytes(32)) -> Disclosure:
    disclosure = Disclosure()
    granted = [
        GrantedInput(
            name=name,
            table=name,
            version_id="00" * 16,
            version="00" * 32,
            source=None,
            columns=["id", "g"],
            entity=entity,
            epsilon_millionths=0,
            manifest_bytes=1,
        )
        for name in names or ("data",)
    ]
    rules = demand(smallest_group=5, differencing="review")
    disclosure.add("00" * 32, rules, granted, memory=secret)
    return disclosure


def spoken_of(query: Any, tables: Any = PEOPLE, **options: Any) -> dict[str, Population]:
    names = list(tables) if isinstance(tables, dict) else ["data"]
    entity, secret = options.pop("entity", None), options.pop("secret", bytes(32))
    disclosure = remembering(*names, entity=entity, secret=secret)
    operate(query, tables, disclosure=disclosure, **options)
    return disclosure.populations


def sets(found: Population) -> list[set[int]]:
    assert found.sets is not None
    made: dict[int, set[int]] = {}
    for each in found.sets.to_pylist():
        made.setdefault(each["set"], set()).add(each["person"])
    return [made[number] for number in sorted(made)]


def table_of(*chosen: set[int]) -> pa.Table:
    rows = sorted((number, person) for number, each in enumerate(chosen) for person in each)
    return pa.table(
        {
            "set": pa.array([number for number, _ in rows], pa.int32()),
            "person": pa.array([person for _, person in rows], pa.uint64()),
        }
    )


def without(*people: int) -> list[FilterStep]:
    listed = ", ".join(map(str, people))
    return [FilterStep(kind="filter", where=f"id NOT IN ({listed})")]


def test_result_speaks_of_the_rows_that_are_left_and_of_each_group_that_is_shown() -> None:
    by_group = Aggregate(sql="SELECT g, COUNT(*) AS n FROM data WHERE id > 2 GROUP BY g")
    found = spoken_of(by_group)["data"]
    whole, *groups = sets(found)
    assert found.people == (57,)
    assert len(whole) == 57
    assert sorted(map(len, groups)) == [19, 19, 19]
    assert set.union(*groups) == whole
    # What is hidden is not spoken of.
    few = pa.table({"id": list(range(23)), "g": ["a"] * 10 + ["b"] * 10 + ["c"] * 3})
    shown = spoken_of(Aggregate(sql="SELECT g, COUNT(*) AS n FROM data GROUP BY g"), few)["data"]
    assert [len(each) for each in sets(shown)] == [23, 10]


def test_people_are_digests_under_a_secret_of_the_owner() -> None:
    first, second = (
        sets(spoken_of(COUNT, entity="id", secret=secret)["data"])[0]
        for secret in (bytes(32), bytes([1]) * 32)
    )
    assert len(first) == len(second) == 60
    assert not first & second
    assert not first & set(range(60))


def test_people_are_known_again_in_another_order_and_another_version() -> None:
    again = PEOPLE.take(list(reversed(range(60))))
    assert sets(spoken_of(COUNT, entity="id")["data"]) == sets(
        spoken_of(COUNT, again, entity="id")["data"]
    )


@pytest.mark.parametrize("entity", [None, "id"])
def test_memory_limit_makes_no_difference_to_who_is_spoken_of(entity: str | None) -> None:
    """Else a job would become another population's by asking for less memory."""
    whole, streamed = (
        spoken_of(COUNT, entity=entity, streamed=each, prepare=without(3, 4))["data"]
        for each in (False, True)
    )
    assert whole.people == streamed.people == (58,)
    assert sets(whole) == sets(streamed)


def test_rows_are_known_again_through_joins_and_unions() -> None:
    left = pa.table({"id": list(range(40)), "x": [1.0] * 40})
    right = pa.table({"id": list(range(10, 50)), "y": [1.0] * 40})
    found = spoken_of(COUNT, {"left": left, "right": right}, align=join("left", "right", on="id"))
    assert sets(found["left"]) == [set(range(11, 41))]
    assert sets(found["right"]) == [set(range(1, 31))]
    both = {"left": left, "right": right.rename_columns(["id", "x"])}
    united = spoken_of(COUNT, both, align=union("left", "right"), prepare=without(12))
    assert sets(united["left"]) == [set(range(1, 41)) - {13}]
    assert sets(united["right"]) == [set(range(1, 41)) - {3}]


def test_joins_in_parts_tell_sizes_alone_without_an_entity() -> None:
    left = pa.table({"id": list(range(40)), "g": ["a"] * 40})
    right = pa.table({"id": list(range(10, 50)), "y": [1.0] * 40})
    options: dict[str, Any] = {"align": join("left", "right", on="id"), "streamed": True}
    tables = {"left": left, "right": right}
    found = spoken_of(COUNT, tables, **options)
    assert (found["left"].people, found["left"].sets) == ((30,), None)
    named = spoken_of(COUNT, tables, entity="id", **options)
    assert len(sets(named["left"])[0]) == 30


def test_owner_who_does_not_compare_costs_nothing() -> None:
    disclosure = Disclosure()
    disclosure.add("00" * 32, demand(smallest_group=5))
    operate(Describe(), PEOPLE, disclosure=disclosure)
    assert disclosure.remembered == set()
    assert disclosure.populations == {}


@settings(deadline=None, max_examples=60)
@given(
    new=st.lists(st.sets(st.integers(0, 30), min_size=5), min_size=1, max_size=3),
    earlier=st.lists(st.sets(st.integers(0, 30), min_size=5), min_size=1, max_size=3),
    smallest=st.integers(2, 6),
)
def test_too_close_is_a_difference_of_some_and_of_fewer_than_a_group(
    new: list[set[int]], earlier: list[set[int]], smallest: int
) -> None:
    expected = any(0 < len(ours ^ theirs) < smallest for ours in new for theirs in earlier)
    smallest_set = min(map(len, [*new, *earlier]))
    if 2 * smallest_set >= smallest:
        assert too_close(table_of(*new), table_of(*earlier), smallest) == expected
    sizes = [len(each) for each in new], [len(each) for each in earlier]
    # Sizes alone never miss what sets would show.
    assert sizes_too_close(*sizes, smallest) >= expected


def test_sets_come_back_as_they_were_and_nothing_else_is_taken_for_them() -> None:
    found = spoken_of(COUNT)["data"]
    data = found.to_bytes()
    assert data is not None
    assert read_sets(data).equals(found.sets)
    assert len(data) < 2000
    with pytest.raises(Malformed):
        read_sets(data[:-10])
    with pytest.raises(Malformed):
        read_sets(b"")


def test_of_very_many_people_the_sizes_alone_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_populations, "MOST_REMEMBERED", 59)
    for entity in (None, "id"):
        found = spoken_of(COUNT, entity=entity)["data"]
        assert (found.people, found.sets, found.to_bytes()) == ((60,), None, None)
        assert sets(spoken_of(COUNT, entity=entity, prepare=without(1))["data"])
