"""Sums that few people make up stay hidden, whoever the people are and whatever is added to all."""

from __future__ import annotations

import pyarrow as pa
import pytest

from clf_enclave._alignment import align
from clf_enclave._data import AlignedData
from clf_enclave._dominance import dominated
from clf_enclave._workspace import Workspace
from clf_sdk.operations import Aggregate, Describe
from clf_sdk.protocol import Dominance, InputNode
from clf_testing import demand, demanding, operate

HALF = Dominance(largest=1, percent=50)
TWO = Dominance(largest=2, percent=75)


def aligned(workspace: Workspace, table: pa.Table, entity: str | None = None) -> AlignedData:
    entities = {} if entity is None else {"t": entity}
    tree = InputNode(kind="input", input="t")
    return align(workspace, tree, {"t": table}, entities=entities).data


def broken(table: pa.Table, rules: list[Dominance], entity: str | None = None) -> list[bool]:
    """Return for each group ``g``, in order, whether some rule is broken for ``x``."""
    with Workspace() as workspace:
        data = aligned(workspace, table, entity)
        held = dominated(data, data.sql("x"), keys=[data.sql("g")], rules=rules)
        assert held is not None
        return [bool(each) for each in held.any]


def test_sum_is_dominated_where_the_largest_make_up_more_than_allowed() -> None:
    # By hand: 50 of 100 is not over 50 %, 51 of 101 is; the two largest of c make up 77 of 100.
    groups = {"a": [50, 20, 20, 10], "b": [51, 20, 20, 10], "c": [40, 37, 13, 10]}
    table = pa.table(
        {
            "g": [name for name, values in groups.items() for _ in values],
            "x": [value for values in groups.values() for value in values],
        }
    )
    # Around their middle, 20, the largest of a and b are dominant: 30 of 40.
    assert broken(table, [HALF]) == [True, True, False]
    even = pa.table({"g": ["a"] * 4, "x": [25, 26, 24, 25]})
    assert broken(even, [HALF]) == [False]
    assert broken(table, [TWO])[2] is True


def test_rows_of_one_person_are_one_contribution() -> None:
    """Ten visits of one patient look like ten patients where rows are counted."""
    table = pa.table(
        {
            "g": ["a"] * 20,
            "who": ["p0"] * 10 + [f"p{n}" for n in range(1, 11)],
            "x": [10.0 + n for n in range(10)] + [5.0 + n for n in range(10)],
        }
    )
    assert broken(table, [HALF]) == [False]
    assert broken(table, [HALF], entity="who") == [True]


def test_adding_to_everybody_does_not_hide_who_makes_up_the_sum() -> None:
    income = [1000.0] + [10.0 + n for n in range(12)]
    rules = [demand(dominance=[HALF])]
    for summed in ("SUM(x)", "SUM(x + 1000000)", "AVG(x - 500)", "SUM(-x)", "SUM(2 * x + 1.5)"):
        query = Aggregate(
            sql="SELECT COUNT(*) AS n, SUM(x) AS s FROM data".replace("SUM(x)", summed)
        )
        disclosure = demanding(*rules)
        found = operate(query, pa.table({"x": income}), disclosure=disclosure)["groups"]
        assert isinstance(found, pa.Table)
        assert found.to_pylist() == [{"n": 13, "s": None}], summed
        (report,) = disclosure.report(["groups"], ()).outputs
        assert [(each.rule, each.cells) for each in report.suppressed] == [("dominance", 1)]
        assert "dominance" in report.checked


def test_dominated_sum_can_not_be_subtracted_from_a_total() -> None:
    """Two groups of one region: the total of the region is no secret, so both stay hidden."""
    rows = [("north", "a", 10.0 + n) for n in range(12)] + [
        ("north", "b", 10.0 + n) for n in range(12)
    ]
    rows += [("north", "c", 5000.0)] + [("north", "c", 10.0 + n) for n in range(12)]
    table = pa.table(
        {
            "region": [r for r, _, _ in rows],
            "g": [g for _, g, _ in rows],
            "x": [x for *_, x in rows],
        }
    )
    found = operate(
        Aggregate(sql="SELECT g, COUNT(*) AS n, SUM(x) AS s FROM data GROUP BY g"),
        table,
        rules=[demand(smallest_group=5, dominance=[HALF])],
    )["groups"]
    assert isinstance(found, pa.Table)
    sums = dict(zip(found["g"].to_pylist(), found["s"].to_pylist(), strict=True))
    assert sums["c"] is None
    assert [each for each in sums.values() if each is None] == [None, None]
    assert found["n"].to_pylist() == [12, 12, 13]


def test_mean_of_a_column_that_one_person_dominates_is_not_described() -> None:
    table = pa.table(
        {"x": [1000.0] + [10.0 + n for n in range(12)], "y": [float(n) for n in range(13)]}
    )
    for rules, hidden in (([], False), ([HALF], True)):
        disclosure = demanding(demand(dominance=rules))
        found = operate(Describe(), table, disclosure=disclosure)["columns"]
        assert isinstance(found, pa.Table)
        means = found["mean"].to_pylist()
        assert (means[0] is None) == hidden
        assert means[1] == pytest.approx(6)
        (report,) = disclosure.report(["columns"], ()).outputs
        assert bool(report.suppressed) == hidden


def test_every_owner_s_rule_is_held_and_the_report_says_whose_it_was() -> None:
    strict, lax = demand(dominance=[TWO]), demand(dominance=[HALF])
    table = pa.table({"x": [40.0, 37.0, 13.0, 10.0]})
    disclosure = demanding(lax, strict)
    query = Aggregate(sql="SELECT SUM(x) AS s FROM data")
    found = operate(query, table, disclosure=disclosure)["groups"]
    assert isinstance(found, pa.Table)
    assert found["s"].to_pylist() == [None]
    (report,) = disclosure.report(["groups"], ()).outputs
    assert report.suppressed[0].servers == [f"{1:064x}"]
