"""A filter keeps exactly the rows that meet it, unchanged, and its database can do nothing else."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clf_sdk.errors import InvalidFilter
from clf_sdk.filters import FilterRun, RowFilter

BATCH = pa.record_batch(
    {
        "row": pa.array([0, 1, 2, 3], pa.int8()),
        "n": pa.array([1, 2, None, 4], pa.int64()),
        "s": pa.array(["a", "B", None, "a'x"]).dictionary_encode(),
        "S": pa.array(["one", "two", "three", "four"]),
        "f": pa.array([1.0, float("nan"), 3.0, float("inf")]),
        "h": pa.array(np.array([1, 2, 3, 4], np.float16())),
        "t": pa.array([0, 10**6, 2 * 10**6, None], pa.timestamp("us", tz="Europe/Berlin")),
        "d": pa.array([0, 1, 2, 3], pa.date32()),
        "b": pa.array([True, False, None, True]),
        "u": pa.array([0, 2**64 - 1, None, 1], pa.uint64()),
        "m": pa.array([None, 1, 2, 3], pa.decimal128(38, 0)),
        "nested": pa.array([[1], [], None, [2, 3]], pa.list_(pa.int64())),
    }
)


def kept(text: str, batch: pa.RecordBatch = BATCH) -> list[int]:
    with FilterRun(RowFilter.parse(text), batch.schema) as run:
        rows: list[int] = run.keep(batch).column("row").to_pylist()
    return rows


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("n >= 2", [1, 3]),
        ("NOT n >= 2", [0]),
        ("n IS NULL", [2]),
        ("n = 99", []),
        ("n = 99 OR n <> 99", [0, 1, 3]),
        ("s = 'a' OR S = 'two'", [0, 1]),
        ("s IN ('a', 'B')", [0, 1]),
        ("s = 'nobody has this'", []),
        ("s = 'a''x'", [3]),
        ("LOWER(s) = 'b'", [1]),
        ("s LIKE 'a%'", [0, 3]),
        ("f > 0", [0, 2, 3]),
        ("f <> 3", [0, 3]),
        ("f IS NULL", [1]),
        ("h > 2", [2, 3]),
        ("t > '1970-01-01 00:00:00'", [1, 2]),
        ("t = TIMESTAMP '1970-01-01T01:00:01+01:00'", [1]),
        ("d > '1970-01-02'", [2, 3]),
        ("YEAR(d) = 1970 AND d < DATE '1970-01-02'", [0]),
        ("b", [0, 3]),
        ("NOT b", [1]),
        ("b IS NOT TRUE", [1, 2]),
        ("u > 900000000000000000", [1]),
        ("m > 1.5", [2, 3]),
        ("ABS(n) = 1 OR LENGTH(S) = 5", [0, 2]),
    ],
)
def test_rows_that_meet_the_condition_are_kept(text: str, rows: list[int]) -> None:
    assert kept(text) == rows


def test_kept_rows_are_the_same_in_every_column_and_type() -> None:
    with FilterRun(RowFilter.parse("n <> 2"), BATCH.schema) as run:
        rows = run.keep(BATCH)
    assert rows.schema.equals(BATCH.schema, check_metadata=True)
    assert rows.to_pylist() == BATCH.take(pa.array([0, 3])).to_pylist()
    rows.validate(full=True)


def test_batch_that_meets_it_whole_is_not_copied() -> None:
    with FilterRun(RowFilter.parse("d IS NOT NULL"), BATCH.schema) as run:
        assert run.keep(BATCH) is BATCH


def test_slices_and_empty_batches_keep_their_place() -> None:
    with FilterRun(RowFilter.parse("n >= 2"), BATCH.schema) as run:
        assert run.keep(BATCH.slice(1, 2)).column("row").to_pylist() == [1]
        assert run.keep(BATCH.slice(4)).num_rows == 0


def test_order_of_many_rows_is_kept() -> None:
    count = 300_000
    batch = pa.record_batch({"row": pa.array(range(count), pa.int64()), "n": np.arange(count) % 7})
    rows = kept("n IN (1, 3)", batch)
    assert rows == [row for row in range(count) if row % 7 in (1, 3)]


NUMBERS = st.one_of(st.none(), st.integers(-3, 3))
TESTS: dict[str, Callable[[int, int], bool]] = {
    "=": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    ">=": lambda a, b: a >= b,
}


@st.composite
def conditions(draw: st.DrawFn) -> tuple[str, Callable[[dict[str, Any]], bool | None]]:
    """Draw a condition, and the same one in Python with SQL's three truth values."""
    column, operator = draw(st.sampled_from("xy")), draw(st.sampled_from(sorted(TESTS)))
    value = draw(st.integers(-3, 3))

    def holds(row: dict[str, Any]) -> bool | None:
        return None if row[column] is None else TESTS[operator](row[column], value)

    text = f"{column} {operator} {value}"
    if draw(st.booleans()):
        return text, holds
    other_text, other = draw(conditions())
    joiner = draw(st.sampled_from(["AND", "OR"]))

    def both(row: dict[str, Any]) -> bool | None:
        values = {holds(row), other(row)}
        decisive = joiner == "OR"
        if decisive in values:
            return decisive
        return None if None in values else not decisive

    if draw(st.booleans()):
        return (
            f"NOT ({text} {joiner} ({other_text}))",
            lambda row: None if (value := both(row)) is None else not value,
        )
    return f"{text} {joiner} ({other_text})", both


@settings(deadline=None, max_examples=60)
@given(
    condition=conditions(),
    rows=st.lists(st.fixed_dictionaries({"x": NUMBERS, "y": NUMBERS}), max_size=12),
)
def test_rows_that_are_kept_are_those_for_which_the_condition_is_true(
    condition: tuple[str, Callable[[dict[str, Any]], bool | None]], rows: list[dict[str, Any]]
) -> None:
    text, holds = condition
    schema = pa.schema({"x": pa.int64(), "y": pa.int64()})
    batch = pa.RecordBatch.from_pylist(rows, schema=schema)
    with FilterRun(RowFilter.parse(text), schema) as run:
        assert run.keep(batch).to_pylist() == [row for row in rows if holds(row) is True]


def test_error_of_the_database_shows_no_value() -> None:
    batch = pa.record_batch({"secret": pa.array([-(2**63)], pa.int64())})
    with FilterRun(RowFilter.parse("ABS(secret) > 1"), batch.schema) as run:
        with pytest.raises(InvalidFilter) as caught:
            run.keep(batch)
        assert "9223372036854775808" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert run.keep(batch.slice(1)).num_rows == 0


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_csv('{path}')",
        "COPY (SELECT 1) TO '{path}'",
        "EXPORT DATABASE '{path}'",
        "ATTACH '{path}'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET memory_limit = '64GB'",
        "SET threads = 64",
        "SELECT * FROM here",
    ],
)
def test_database_of_a_filter_is_locked_down(statement: str, tmp_path: Path) -> None:
    here = pa.table({"value": [1]})  # what DuckDB would find by its name, if it were let
    path = tmp_path / "file.csv"
    path.write_text("a\n1\n")
    with FilterRun(RowFilter.parse("n > 1"), BATCH.schema) as run, pytest.raises(duckdb.Error):
        run._connection.execute(statement.format(path=path))
    assert here.num_rows == 1
    assert path.read_text() == "a\n1\n"


def test_timestamps_without_a_zone_are_taken_as_they_are() -> None:
    noon = dt.datetime(2026, 1, 1, 12)  # noqa: DTZ001 - the point
    batch = pa.record_batch({"row": [0], "at": pa.array([noon], pa.timestamp("ns"))})
    assert kept("at = '2026-01-01 12:00:00'", batch) == [0]
    assert kept("at >= '2026-01-02'", batch) == []
