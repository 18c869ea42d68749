from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clf_sdk.errors import Malformed
from clf_sdk.sealed import describe_schema, normalise_batch, normalise_schema

_DAY = dt.date(2026, 2, 3)
_MOMENT = dt.datetime(2026, 2, 3, 4, 5, 6, tzinfo=dt.UTC)

COLUMNS: dict[str, pa.Array] = {
    "null": pa.nulls(5),
    "bool": pa.array([True, None, False, True, None]),
    "int8": pa.array([1, None, -3, 4, 5], pa.int8()),
    "uint64": pa.array([1, None, 2**64 - 1, 4, 5], pa.uint64()),
    "half": pa.array([1.5, None, -2.5, 0.0, 4.0], pa.float16()),
    "float": pa.array([1.5, None, float("inf"), 0.0, 4.0], pa.float32()),
    "double": pa.array([1.5, 2.5, -0.0, 1e300, 4.0]),
    "decimal32": pa.array([Decimal("1.10"), None, Decimal("-9.99")] * 2, pa.decimal32(5, 2))[:5],
    "decimal64": pa.array([Decimal("1.10"), None, Decimal("-9.99")] * 2, pa.decimal64(9, 2))[:5],
    "decimal128": pa.array([Decimal("1.10"), None, Decimal("-9.99")] * 2, pa.decimal128(30, 2))[:5],
    "decimal256": pa.array([Decimal("1.10"), None, Decimal("-9.99")] * 2, pa.decimal256(60, 2))[:5],
    "date32": pa.array([_DAY, None, _DAY, _DAY, None]),
    "date64": pa.array([_DAY, None, _DAY, _DAY, None], pa.date64()),
    "time32": pa.array([dt.time(1, 2, 3), None, dt.time(4), None, None], pa.time32("ms")),
    "time64": pa.array([dt.time(1, 2, 3), None, dt.time(4), None, None], pa.time64("ns")),
    "timestamp": pa.array([_MOMENT, None, _MOMENT, None, _MOMENT], pa.timestamp("us")),
    "zoned": pa.array([_MOMENT, None, _MOMENT, None, _MOMENT], pa.timestamp("ns", "Asia/Tokyo")),
    "duration": pa.array([dt.timedelta(1), None, None, None, dt.timedelta(2)], pa.duration("s")),
    "interval": pa.array([(1, 2, 3), None, (4, 5, 6), None, None], pa.month_day_nano_interval()),
    "string": pa.array(["", None, "grün", "a" * 1000, "\x00"]),
    "large_string": pa.array(["", None, "grün", "a" * 1000, "b"], pa.large_string()),
    "binary": pa.array([b"", None, b"\x00\xff", b"a" * 100, b"b"]),
    "large_binary": pa.array([b"", None, b"\x00\xff", b"a" * 100, b"b"], pa.large_binary()),
    "fixed": pa.array([b"abc", None, b"def", None, b"ghi"], pa.binary(3)),
    "list": pa.array([[1, None], None, [], [3], [4, 5, 6]]),
    "large_list": pa.array([["a", None], None, [], ["c"], ["d"]], pa.large_list(pa.string())),
    "fixed_list": pa.array([[1, 2], None, [None, 4], None, [9, 10]], pa.list_(pa.int16(), 2)),
    "fixed_list_strict": pa.array(
        [[1, 2], None, [3, 4], None, [9, 10]],
        pa.list_(pa.field("item", pa.int16(), nullable=False), 2),
    ),
    "struct": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": None}, None, {"a": 2}]),
    "struct_strict": pa.array(
        [{"a": 1, "b": [True]}, None, {"a": 3, "b": []}, None, {"a": 2, "b": [False]}],
        pa.struct(
            [
                pa.field("a", pa.int64(), nullable=False),
                pa.field("b", pa.list_(pa.bool_()), nullable=False),
            ]
        ),
    ),
    "struct_empty": pa.array([{}, None, {}, {}, None], pa.struct([])),
    "map": pa.array([[("a", 1)], None, [("b", None)], [], None], pa.map_(pa.string(), pa.int8())),
    "nested": pa.array(
        [[{"k": [1, None]}, None], None, [], [{"k": None}], [{"k": []}]],
        pa.list_(pa.struct([pa.field("k", pa.list_(pa.int32()))])),
    ),
    "dictionary": pa.array(["x", None, "y", "x", "z"]).dictionary_encode(),
    "dictionary_of_numbers": pa.array([7, None, 8, 7, 7]).dictionary_encode(),
    "ordered": pa.DictionaryArray.from_arrays(
        pa.array([2, None, 0, 0, 2], pa.int8()), ["low", "mid", "high"], ordered=True
    ),
    "dictionary_all_null": pa.array([None] * 5, pa.dictionary(pa.int32(), pa.string())),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_of_every_type_comes_back_equal(name: str, seal: Any) -> None:
    table = pa.table({name: COLUMNS[name]})
    opened = seal(table).open()
    opened.validate(full=True)
    assert opened.schema.equals(table.schema, check_metadata=True)
    assert opened.to_pylist() == table.to_pylist()


def test_all_types_together_in_chunks_and_slices(seal: Any) -> None:
    table = pa.table(COLUMNS)
    chunked = pa.concat_tables([table.slice(1, 3), table.slice(0, 0), table.slice(2), table])
    sealed = seal(chunked)
    assert len(sealed.manifest.row_groups) == 1
    assert sealed.open().to_pylist() == chunked.to_pylist()


@pytest.mark.parametrize("name", COLUMNS)
def test_row_groups_of_one_row_come_back_equal(name: str, seal: Any) -> None:
    table = pa.table({name: COLUMNS[name], "size": pa.array(["x" * 64] * 5)})
    sealed = seal(table, target_bytes=1)
    assert [group.rows for group in sealed.manifest.row_groups] == [1] * 5
    assert sealed.open().to_pylist() == table.to_pylist()


def test_an_ordered_dictionary_keeps_its_order_across_row_groups(seal: Any) -> None:
    column = pa.DictionaryArray.from_arrays(
        pa.array([1, 2, 0, 1], pa.int8()), ["low", "mid", "high"], ordered=True
    )
    opened = seal(pa.table({"risk": column}), target_bytes=17).open()
    assert opened["risk"].num_chunks == 2
    for chunk in opened["risk"].chunks:
        assert chunk.dictionary.to_pylist() == ["low", "mid", "high"]
    assert opened["risk"].to_pylist() == ["mid", "high", "low", "mid"]


def test_ordered_dictionaries_that_differ_are_merged_in_order(seal: Any) -> None:
    def chunk(*levels: str) -> pa.Array:
        indices = pa.array(range(len(levels)), pa.int8())
        return pa.DictionaryArray.from_arrays(indices, list(levels), ordered=True)

    column = pa.chunked_array([chunk("low", "high"), chunk("low", "mid", "high")])
    (opened,) = seal(pa.table({"risk": column})).open()["risk"].chunks
    assert opened.dictionary.to_pylist() == ["low", "mid", "high"]
    assert opened.to_pylist() == column.to_pylist()
    contradiction = pa.chunked_array([chunk("low", "high"), chunk("high", "low")])
    with pytest.raises(Malformed, match="'risk'"):
        seal(pa.table({"risk": contradiction}))


@pytest.mark.parametrize("ordered", [False, True])
def test_dictionaries_that_one_index_type_cannot_count_stay_apart(
    ordered: bool,  # noqa: FBT001 - a test parameter
    seal: Any,
) -> None:
    indices = pa.array(range(100), pa.int8())
    chunks = [
        pa.DictionaryArray.from_arrays(indices, [f"{kind}{i}" for i in range(100)], ordered=ordered)
        for kind in "ab"
    ]
    table = pa.table({"c": pa.chunked_array(chunks)})
    sealed = seal(table)
    assert len(sealed.manifest.row_groups) == 2
    assert sealed.open().to_pylist() == table.to_pylist()


def test_an_empty_table_keeps_its_schema_and_has_no_row_groups(seal: Any) -> None:
    table = pa.table(COLUMNS).slice(0, 0)
    sealed = seal(table)
    assert sealed.objects == {}
    assert sealed.manifest.rows == 0
    opened = sealed.open()
    assert opened.schema == table.schema
    assert opened.num_rows == 0


def test_a_table_without_columns_keeps_its_rows(seal: Any) -> None:
    batch = pa.RecordBatch.from_struct_array(pa.array([{}] * 7, pa.struct([])))
    reader = pa.RecordBatchReader.from_batches(batch.schema, [batch, batch])
    sealed = seal(reader)
    assert sealed.objects == {"0": b""}
    assert (sealed.manifest.rows, sealed.open().num_rows) == (14, 14)
    assert seal(pa.Table.from_batches([batch])).open().num_rows == 7


def test_ten_thousand_columns(seal: Any) -> None:
    table = pa.table({f"c{i}": pa.array([i, None]) for i in range(10_000)})
    sealed = seal(table)
    wanted = ["c17", "c9999", "c3"]
    opened = sealed.open(wanted)
    assert opened.to_pydict() == {"c17": [17, None], "c9999": [9999, None], "c3": [3, None]}


def test_normalising_twice_changes_nothing() -> None:
    batch = pa.table(COLUMNS).slice(1).combine_chunks().to_batches()[0]
    schema = normalise_schema(batch.schema)
    once = normalise_batch(batch, schema)
    twice = normalise_batch(once, schema)
    assert normalise_schema(schema).equals(schema, check_metadata=True)
    assert once.equals(twice)
    assert once.serialize() == twice.serialize()
    once.validate(full=True)


def test_what_is_stripped_leaves_no_trace_in_the_plaintext(seal: Any) -> None:
    source = pa.array([False, True, False, True, None, True, True, True, True])
    same = pa.array([False, True, False])
    plaintexts = {
        seal(pa.table({"a": column})).plaintexts()[0]
        for column in (source.slice(0, 3), same, pa.concat_arrays([same.slice(0, 1), same[1:]]))
    }
    assert len(plaintexts) == 1


def test_a_catalogue_describes_names_types_and_nullability() -> None:
    schema = pa.schema([pa.field("id", pa.int64(), nullable=False), ("name", pa.string())])
    assert describe_schema(schema) == [
        {"name": "id", "type": "int64", "nullable": False},
        {"name": "name", "type": "string", "nullable": True},
    ]


_VALUES = st.one_of(
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1)).map(lambda v: pa.array(v, pa.int64())),
    st.lists(st.none() | st.booleans()).map(lambda v: pa.array(v, pa.bool_())),
    st.lists(st.none() | st.text(st.characters(codec="utf-8"))).map(
        lambda v: pa.array(v, pa.string())
    ),
    st.lists(st.none() | st.binary()).map(lambda v: pa.array(v, pa.binary())),
    st.lists(st.none() | st.sampled_from("abc")).map(
        lambda v: pa.array(v, pa.string()).dictionary_encode()
    ),
    st.lists(st.none() | st.lists(st.none() | st.integers(0, 9))).map(
        lambda v: pa.array(v, pa.list_(pa.int8()))
    ),
    st.lists(st.none() | st.fixed_dictionaries({"a": st.none() | st.booleans()})).map(
        lambda v: pa.array(v, pa.struct([("a", pa.bool_())]))
    ),
)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # `seal` is a plain function
)
@given(array=_VALUES, start=st.integers(0, 12), target=st.sampled_from([1, 40, 1 << 20]))
def test_any_slice_of_any_column_comes_back_equal(
    seal: Any, array: pa.Array, start: int, target: int
) -> None:
    table = pa.table({"column": array.slice(start)})
    sealed = seal(table, target_bytes=target)
    assert sealed.open().to_pylist() == table.to_pylist()
