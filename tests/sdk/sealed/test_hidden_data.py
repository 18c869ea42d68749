"""must: nothing is sealed but the rows (docs/protocol.md §4.4)."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

MARKER = b"HIDDENxx"
NUMBER = int.from_bytes(MARKER, "little")
TEXT = MARKER.decode()


def _beneath_nulls(array: pa.Array, valid: list[bool]) -> pa.Array:
    """Make rows null and leave what they held beneath."""
    bits = pa.array(valid).buffers()[1]
    children = None
    if pa.types.is_struct(array.type):
        children = [array.field(i) for i in range(array.type.num_fields)]
    elif pa.types.is_nested(array.type):
        children = [array.values]  # noqa: PD011 - an Arrow list, not a pandas Series
    own = 1 if pa.types.is_struct(array.type) or pa.types.is_fixed_size_list(array.type) else 2
    buffers = array.buffers()[1:own] if children else array.buffers()[1:]
    return pa.Array.from_buffers(array.type, len(array), [bits, *buffers], children=children)


_NUMBERS = pa.array([1, NUMBER, 3, NUMBER], pa.int64())
_TEXTS = pa.array(["a", TEXT, "c", TEXT])
_VALID = [True, False, True, False]
_DATES = pa.array([1, NUMBER, 3, NUMBER], pa.timestamp("ns"))
_FIXED = pa.array([bytes(8), MARKER, bytes(8), MARKER], pa.binary(8))
_DECIMALS = pa.Array.from_buffers(
    pa.decimal128(38, 0), 4, [None, pa.py_buffer((bytes(16) + MARKER + bytes(8)) * 2)]
)
_INNER = pa.array([[1], [NUMBER, NUMBER], [], [NUMBER]], pa.list_(pa.int64()))
_PAIRS = pa.FixedSizeListArray.from_arrays(
    pa.array([1, 1, NUMBER, NUMBER, 3, 3, NUMBER, NUMBER], pa.int64()), 2
)
_STRUCTS = pa.StructArray.from_arrays([_NUMBERS, _TEXTS], ["n", "t"])
_STRICT = pa.StructArray.from_arrays(
    [_NUMBERS, _TEXTS],
    fields=[pa.field("n", pa.int64(), nullable=False), pa.field("t", pa.string(), nullable=False)],
)
_LARGE_TEXTS = _TEXTS.cast(pa.large_string())
_NESTED = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3, 4], pa.int32()), _STRUCTS)

NULLED = {
    "numbers": _NUMBERS,
    "text": _TEXTS,
    "large text": _LARGE_TEXTS,
    "dates": _DATES,
    "fixed": _FIXED,
    "decimals": _DECIMALS,
    "list": _INNER,
    "large list": _INNER.cast(pa.large_list(pa.int64())),
    "fixed list": _PAIRS,
    "struct": _STRUCTS,
    "strict struct": _STRICT,
    "nested": _NESTED,
}


@pytest.mark.parametrize("name", NULLED)
@pytest.mark.parametrize("start", [0, 1])
def test_values_beneath_nulls_are_zeros(name: str, start: int, seal: Any) -> None:
    column = _beneath_nulls(NULLED[name], _VALID).slice(start)
    assert any(MARKER in bytes(buffer) for buffer in column.buffers() if buffer)
    table = pa.table({"column": column})
    sealed = seal(table)
    assert MARKER not in b"".join(sealed.plaintexts())
    assert sealed.open().to_pylist() == table.to_pylist()


def test_values_beneath_null_map_entries_are_left_out(seal: Any) -> None:
    entries = pa.array(
        [[("k", 1)], [(TEXT, NUMBER)], [], [(TEXT, 1)]], pa.map_(pa.string(), pa.int64())
    )
    children = [
        pa.StructArray.from_arrays(
            [entries.keys, entries.items], fields=[entries.type.key_field, entries.type.item_field]
        )
    ]
    column = pa.Array.from_buffers(
        entries.type, 4, [pa.array(_VALID).buffers()[1], entries.buffers()[1]], children=children
    )
    table = pa.table({"column": column})
    sealed = seal(table)
    assert MARKER not in b"".join(sealed.plaintexts())
    assert sealed.open().to_pylist() == table.to_pylist()


@pytest.mark.parametrize("name", NULLED)
@pytest.mark.parametrize("rows", [(0, 1), (2, 1)])
def test_rows_outside_a_slice_are_left_out(name: str, rows: tuple[int, int], seal: Any) -> None:
    """Arrow's own writer keeps up to 64 bytes behind a slice."""
    table = pa.table({"column": NULLED[name].slice(*rows)})
    sealed = seal(table)
    assert MARKER not in b"".join(sealed.plaintexts())
    assert sealed.open().to_pylist() == table.to_pylist()


def test_row_groups_hold_their_own_rows_only(seal: Any) -> None:
    table = pa.table({"column": pa.array([1, 2, NUMBER, 4], pa.int64())})
    sealed = seal(table, target_bytes=8)
    assert len(sealed.objects) == 4
    assert [MARKER in plaintext for plaintext in sealed.plaintexts()] == [
        False,
        False,
        True,
        False,
    ]


@pytest.mark.parametrize("start", [0, 3, 8])
def test_bits_behind_the_last_row_are_zeros(start: int, seal: Any) -> None:
    ones = pa.array([True] * 64)
    nulls = pa.array([True, None] * 32)
    for source in (ones, nulls):
        exact = seal(pa.table({"c": pa.array(source.slice(start, 3).to_pylist())}))
        sliced = seal(pa.table({"c": source.slice(start, 3)}))
        assert sliced.plaintexts() == exact.plaintexts()


def test_categories_that_no_row_uses_are_left_out(seal: Any) -> None:
    frame = pd.DataFrame({"c": pd.Categorical(["a", TEXT, "b", None])})
    kept = frame[frame["c"] != TEXT]
    sealed = seal(kept)
    assert MARKER not in b"".join(sealed.plaintexts())
    assert sealed.open()["c"].to_pylist() == ["a", "b", None]
    assert TEXT in kept["c"].cat.categories


def test_ordered_categories_keep_their_order_without_unused_levels(seal: Any) -> None:
    column = pd.Categorical(["z", "a"], categories=["z", TEXT, "m", "a"], ordered=True)
    sealed = seal(pd.DataFrame({"c": column}))
    assert MARKER not in b"".join(sealed.plaintexts())
    opened = sealed.open()["c"].to_pandas()
    assert opened.cat.ordered
    assert list(opened.cat.categories) == ["z", "a"]


def test_a_null_inside_a_dictionary_is_a_null_row(seal: Any) -> None:
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 0]), pa.array(["a", None, TEXT]))
    sealed = seal(pa.table({"c": column}))
    assert MARKER not in b"".join(sealed.plaintexts())
    assert sealed.open()["c"].to_pylist() == ["a", None, None, "a"]


def test_views_carry_no_foreign_buffers(seal: Any) -> None:
    for type_ in (pa.string_view(), pa.binary_view()):
        column = pa.array([TEXT * 4, "b" * 40, "c"], type_).slice(1)
        sealed = seal(pa.table({"c": column}))
        assert MARKER not in b"".join(sealed.plaintexts())
        assert [len(value) for value in sealed.open()["c"].to_pylist()] == [40, 1]


def test_metadata_and_attrs_are_left_out(seal: Any) -> None:
    frame = pd.DataFrame({"a": [1]})
    frame.attrs["note"] = TEXT
    table = pa.table({"a": [1]}).replace_schema_metadata({"note": TEXT})
    field = pa.field("s", pa.struct([pa.field("x", pa.int8(), metadata={"note": TEXT})]))
    nested = pa.table([pa.array([{"x": 1}], field.type)], schema=pa.schema([field]))
    for source in (frame, pa.Table.from_pandas(frame), table, nested):
        sealed = seal(source)
        everything = sealed.manifest.canonical + sealed.manifest.schema_message
        assert MARKER not in everything + b"".join(sealed.plaintexts())
    assert frame.attrs == {"note": TEXT}


def test_the_index_is_left_out_unless_asked_for(seal: Any, tmp_path: Any) -> None:
    frame = pd.DataFrame({"a": [1, 2]}, index=pd.Index([TEXT, "other"], name="person"))
    unnamed = pd.DataFrame({"a": [1, 2]}, index=[TEXT, "other"])
    frame.to_parquet(tmp_path / "frame.parquet")
    for source in (
        frame,
        unnamed,
        pa.Table.from_pandas(frame),
        pa.Table.from_pandas(unnamed),
        tmp_path / "frame.parquet",
    ):
        sealed = seal(source)
        assert sealed.manifest.schema.names == ["a"]
        assert MARKER not in b"".join(sealed.plaintexts())
    assert seal(frame, index=True).open().to_pydict() == {"person": [TEXT, "other"], "a": [1, 2]}
    assert set(seal(tmp_path / "frame.parquet", index=True).manifest.schema.names) == {
        "person",
        "a",
    }
