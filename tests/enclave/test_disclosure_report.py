"""The report says what was checked, what is hidden, and whose rule it was; counts are rounded."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from clf_enclave._alignment import align
from clf_enclave._disclosure import Disclosure
from clf_enclave._workspace import Workspace
from clf_sdk.align import join
from clf_sdk.errors import PolicyRefused
from clf_sdk.operations import Aggregate, Describe
from clf_sdk.protocol import GrantedInput, InputNode, OutputReport
from clf_testing import demand, demanding, operate

LAX, STRICT = f"{0:064x}", f"{1:064x}"
SIZES = {"a": 30, "b": 21, "c": 7, "d": 3}


def people(**sizes: int) -> pa.Table:
    groups = [name for name, size in (sizes or SIZES).items() for _ in range(size)]
    return pa.table({"g": groups, "x": [float(n % 5) for n in range(len(groups))]})


def report(disclosure: Disclosure, output: str) -> OutputReport:
    (found,) = disclosure.report([output], ()).outputs
    return found


def test_hidden_groups_are_counted_with_the_owner_who_demands_it() -> None:
    disclosure = demanding(demand(smallest_group=5), demand(smallest_group=10))
    query = Aggregate(sql="SELECT g, COUNT(*) AS n FROM data GROUP BY g")
    found = operate(query, people(), disclosure=disclosure)["groups"]
    assert isinstance(found, pa.Table)
    assert found["g"].to_pylist() == ["a", "b"]
    (small,) = report(disclosure, "groups").suppressed
    assert (small.rule, small.cells, small.servers) == ("smallest_group", 2, [LAX, STRICT])

    alone = demanding(demand(smallest_group=5), demand(smallest_group=10))
    operate(query, people(a=30, b=21, c=7, d=40), disclosure=alone)
    first, second = report(alone, "groups").suppressed
    assert (first.rule, first.cells, first.servers) == ("smallest_group", 1, [STRICT])
    assert (second.rule, second.cells, second.servers) == ("complementary", 1, [STRICT])


def test_report_of_a_description_counts_each_kind_of_cell() -> None:
    disclosure = demanding(demand(smallest_group=10))
    outputs = operate(Describe(), people(), disclosure=disclosure)
    assert isinstance(outputs["categories"], pa.Table)
    (hidden,) = report(disclosure, "categories").suppressed
    assert (hidden.rule, hidden.cells) == ("smallest_group", 2)
    assert report(disclosure, "columns").checked == ["smallest_group"]


def test_nothing_hidden_is_reported_as_nothing() -> None:
    disclosure = demanding(demand(smallest_group=3))
    query = Aggregate(sql="SELECT g, COUNT(*) AS n FROM data GROUP BY g")
    operate(query, people(), disclosure=disclosure)
    assert report(disclosure, "groups").suppressed == []


def test_counts_are_multiples_of_what_every_owner_asks_for() -> None:
    rules = [demand(round_counts=2), demand(round_counts=5)]
    disclosure = demanding(*rules)
    sql = "SELECT g, COUNT(*) AS n, SUM(1) AS s, AVG(x) AS m FROM data GROUP BY g"
    found = operate(Aggregate(sql=sql), people(), disclosure=disclosure)["groups"]
    assert isinstance(found, pa.Table)
    assert found["n"].to_pylist() == [30, 20, 10, 0]
    # The sum of ones is the count: it must not tell what the count does not.
    assert found["s"].to_pylist() == [30, 20, 10, 0]
    assert "round_counts" in report(disclosure, "groups").checked
    table = people(a=33, b=28)
    table = table.append_column("h", table["g"])
    described = operate(Describe(cross_tabulations=[("g", "h")]), table, rules=rules)
    for output in ("columns", "categories", "cross_tabulations"):
        table = described[output]
        assert isinstance(table, pa.Table)
        assert set(table["count"].to_pylist()) <= {0, 30, 60}


def test_match_report_is_rounded_and_reported() -> None:
    left = pa.table({"id": list(range(47)), "x": [1.0] * 47})
    right = pa.table({"id": list(range(10, 60)), "y": [1.0] * 50})
    options: dict[str, Any] = {"align": join("left", "right", on="id"), "match_report": True}
    query = Aggregate(sql="SELECT COUNT(*) AS n FROM data")
    tables = {"left": left, "right": right}
    rounded = operate(query, tables, rules=[demand(round_counts=10)], **options)["match_report"]
    assert isinstance(rounded, pa.Table)
    assert rounded["matched"].to_pylist() == [40, 40]
    assert rounded["rate"].to_pylist() == [pytest.approx(0.8), pytest.approx(0.8)]
    disclosure = demanding(demand(smallest_group=12))
    hidden = operate(query, tables, disclosure=disclosure, **options)["match_report"]
    assert isinstance(hidden, pa.Table)
    assert hidden["matched"].to_pylist() == [None, 37]
    assert report(disclosure, "match_report").suppressed[0].rule == "smallest_group"


def test_output_with_too_many_rows_is_refused_before_it_is_sealed() -> None:
    query = Aggregate(sql="SELECT g, COUNT(*) AS n FROM data GROUP BY g")
    with pytest.raises(PolicyRefused) as caught:
        operate(query, people(), rules=[demand(), demand(output_rows=3)])
    assert caught.value.rule == "output_rows"
    operate(query, people(), rules=[demand(output_rows=4)])


# -- people by an entity column --------------------------------------------------------------------


def granting(entity: str, columns: list[str]) -> Disclosure:
    disclosure = Disclosure()
    granted = GrantedInput(
        name="data",
        table="t",
        version_id="00" * 16,
        version="00" * 32,
        source=None,
        columns=columns,
        entity=entity,
        epsilon_millionths=0,
        manifest_bytes=1,
    )
    disclosure.add(LAX, demand(smallest_group=5), [granted])
    return disclosure


def test_rows_that_do_not_say_whose_they_are_count_as_one_person() -> None:
    """Leaving the entity empty must not turn one patient into many, nor into nobody."""
    table = pa.table(
        {"who": [None] * 20, "g": ["a"] * 20}, pa.schema({"who": pa.string(), "g": pa.string()})
    )
    with Workspace() as workspace:
        tree = InputNode(kind="input", input="data")
        data = align(workspace, tree, {"data": table}, entities={"data": "who"}).data
        assert data.count_persons() == {"data": 1}
        with pytest.raises(PolicyRefused):
            demanding(demand(smallest_group=5)).check_group(data)


@pytest.mark.parametrize("streamed", [False, True])
def test_column_of_the_people_is_none_of_the_job_unless_it_asks(*, streamed: bool) -> None:
    table = pa.table({"who": [n % 8 for n in range(40)], "g": ["ab"[n % 2] for n in range(40)]})
    query = Aggregate(sql="SELECT g, COUNT(*) AS n FROM data GROUP BY g")
    for columns, hidden in ((["g"], {"data"}), (["who", "g"], set[str]())):
        disclosure = granting("who", columns)
        assert disclosure.hidden_entities == hidden
        found = operate(query, table, disclosure=disclosure, streamed=streamed)["groups"]
        assert isinstance(found, pa.Table)
        # Twenty rows a group, but four people: fewer than five.
        assert found.num_rows == 0
        described = operate(
            Describe(), table, disclosure=granting("who", columns), streamed=streamed
        )
        shown = described["columns"]
        assert isinstance(shown, pa.Table)
        assert shown["column"].to_pylist() == [
            name for name in table.schema.names if name in columns
        ]
