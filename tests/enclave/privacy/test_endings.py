"""No value of a row ends a run, whatever its column is used for: or its end would tell of it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_enclave._moments import within_reach
from clf_enclave._spill import Stream
from clf_sdk.align import aggregate, first, join, key, member, union
from clf_sdk.errors import InvalidJob
from clf_sdk.operations import PrivateStatistics
from clf_testing import MemoryStream, operate

FARTHEST = (-(2**63), -(2**63) + 1, 2**63 - 1, 2**62, -(2**62), 9_223_372_022_400, 0)
MOMENTS = [
    *(pa.timestamp(unit, zone) for unit in ("s", "ms", "us", "ns") for zone in (None, "UTC")),
    *(pa.duration(unit) for unit in ("s", "ms", "us", "ns")),
    pa.date64(),
]
TIMES = [kind for kind in MOMENTS if pa.types.is_timestamp(kind)]
USES = (
    "coalesce(v, TIMESTAMP '2020-01-01 00:00:00')",
    "date_diff('month', v, TIMESTAMP '2020-01-01 00:00:00')",
    "CAST(v AS VARCHAR)",
    "CAST(v AS DATE)",
    "year(v)",
)


def count(tables: Any, **job: Any) -> None:
    operate(PrivateStatistics(statistics=[clf.private.count(epsilon=1)]), tables, **job)


def moments(kind: pa.DataType) -> pa.Table:
    made = pa.array([*FARTHEST, None], pa.int64()).cast(kind)
    return pa.table({"id": range(len(made)), "v": made})


@pytest.mark.parametrize("kind", MOMENTS, ids=str)
@pytest.mark.parametrize("duplicates", [first("v"), aggregate({"v": "max"})], ids=str)
def test_moment_beyond_the_database_s_ends_no_join(kind: pa.DataType, duplicates: Any) -> None:
    other = pa.table({"id": [1, 2, 3], "y": [1, 2, 3]})
    tree = join(member("a", duplicates=duplicates), member("b", duplicates=first("y")), on="id")
    count({"a": moments(kind), "b": other}, align=tree)


@pytest.mark.parametrize("kind", TIMES, ids=str)
def test_moment_beyond_the_database_s_ends_no_computation(kind: pa.DataType) -> None:
    for use in USES:
        count(moments(kind), prepare=[clf.prepare.derive("made", use)])
    keys = [key("v", read_as="date")]
    tables = {"a": moments(kind), "b": moments(kind).rename_columns(["other", "v"])}
    tree = join(
        member("a", duplicates=first("id")), member("b", duplicates=first("other")), on=keys
    )
    count(tables, align=tree)


def in_memory(table: pa.Table) -> pa.Table:
    found = within_reach(table)
    assert not isinstance(found, Stream)
    return found


def test_moments_within_reach_stay_what_they_are() -> None:
    near = pa.array([0, None, 10**12, -(10**12)], pa.int64())
    table = pa.table({str(kind): near.cast(kind) for kind in MOMENTS})
    assert in_memory(table).equals(table)
    beyond = pa.table({"v": pa.array([5, 2**62, None], pa.int64()).cast(pa.timestamp("s"))})
    expected = pa.array([5, None, None], pa.int64()).cast(pa.timestamp("s"))
    assert in_memory(beyond)["v"].combine_chunks().equals(expected)
    streamed = within_reach(MemoryStream(beyond))
    assert isinstance(streamed, Stream)
    assert pa.Table.from_batches(streamed.batches()).equals(in_memory(beyond))


@pytest.mark.parametrize("how", ["inner", "left"])
def test_decimal_that_has_no_room_for_the_other_s_digits_is_equal_to_none(
    how: Literal["inner", "left"],
) -> None:
    large = [Decimal(9 * 10**37), Decimal(2)]
    tables = {
        "a": pa.table({"id": pa.array(large, pa.decimal128(38, 0)), "x": [1, 2]}),
        "b": pa.table({"id": pa.array([Decimal(2)], pa.decimal128(38, 30)), "y": [1]}),
    }
    members = member("a", duplicates=first("x")), member("b", duplicates=first("y"))
    tree = join(*members, on="id", how=how)
    count(tables, align=tree)
    asked = PrivateStatistics(statistics=[clf.private.count(column="y", epsilon=100)])
    assert operate(asked, tables, align=tree)["statistics"]["value"].to_pylist() == [1]
    count({"a": tables["a"].rename_columns(["id", "y"]), "b": tables["b"]}, align=union("a", "b"))


@pytest.mark.parametrize("value", [1, None])
def test_column_of_durations_is_refused_by_its_type(value: int | None) -> None:
    table = pa.table({"id": [1], "v": pa.array([value], pa.duration("us"))})
    tables = {"a": table, "b": pa.table({"id": [1], "w": [1]})}
    tree = join(member("a", duplicates=aggregate({"v": "sum"})), member("b"), on="id")
    with pytest.raises(InvalidJob, match="has no sum"):
        count(tables, align=tree)
    both = {"a": table, "b": table.rename_columns(["other", "v"])}
    with pytest.raises(InvalidJob, match="has type INTERVAL"):
        count(both, align=join("a", "b", on="v"))
