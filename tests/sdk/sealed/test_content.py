from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clf_sdk.sealed import ContentDigest, as_record_batches, content_tag, file_record_batches

KEY = bytes(range(32))


def digest(source: Any, beside: bytes | None = None, **options: Any) -> str:
    batches = as_record_batches(source, **options)
    content = ContentDigest(batches.schema)
    for _ in content.watch(batches):
        pass
    return content.hexdigest(beside)


def columns(rows: int) -> dict[str, pa.Array]:
    """Return a column of each layout, with nulls."""
    numbers = np.arange(rows)
    some = numbers % 7 == 0
    texts = [None if some[n] else "ä" * (n % 5) for n in numbers]
    lists = [None if some[n] else list(range(n % 4)) for n in numbers]
    return {
        "null": pa.nulls(rows),
        "bool": pa.array(numbers % 3 == 0, mask=some),
        "small": pa.array((numbers % 100).astype(np.int8), mask=some),
        "whole": pa.array(numbers),
        "real": pa.array(np.sqrt(numbers), mask=some),
        "decimal": pa.array(numbers).cast(pa.decimal128(30, 2)),
        "fixed": pa.array([b"%03d" % (n % 1000) for n in numbers], pa.binary(3)),
        "text": pa.array(texts),
        "large_text": pa.array(texts, pa.large_string()),
        "view": pa.array(texts, pa.string_view()),
        "binary": pa.array(texts).cast(pa.binary()),
        "large_binary": pa.array(texts).cast(pa.large_binary()),
        "list": pa.array(lists),
        "large_list": pa.array(lists, pa.large_list(pa.int64())),
        "pair": pa.array(
            [None if some[n] else [n, None] for n in numbers], pa.list_(pa.int32(), 2)
        ),
        "struct": pa.array(
            [None if some[n] else {"a": int(n), "b": texts[n]} for n in numbers],
            pa.struct([pa.field("a", pa.int64()), pa.field("b", pa.string())]),
        ),
        "map": pa.array(
            [None if some[n] else [(str(n), int(n))] for n in numbers],
            pa.map_(pa.string(), pa.int64()),
        ),
        "deep": pa.array([[{"k": each}] for each in lists]),
    }


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return pa.table(columns(1003))


def chunked(table: pa.Table, cuts: list[int]) -> pa.Table:
    ends = [0, *sorted(cut for cut in cuts if cut < table.num_rows), table.num_rows]
    return pa.concat_tables(table.slice(a, b - a) for a, b in pairwise(ends))


@pytest.mark.parametrize("name", columns(1))
def test_digest_of_every_layout_does_not_depend_on_the_cut(name: str, table: pa.Table) -> None:
    column = table.select([name])
    whole = digest(column)
    for cuts in ([3], [8, 16], [1, 2, 500, 777]):
        assert digest(chunked(column, cuts)) == whole
        assert digest(chunked(column, cuts), target_bytes=64) == whole


@pytest.mark.parametrize("name", [name for name in columns(1) if name != "null"])
def test_digest_of_every_layout_changes_with_one_row(name: str, table: pa.Table) -> None:
    column = table.select([name])
    other = pa.concat_tables([column.slice(0, 500), column.slice(501, 1), column.slice(501)])
    assert not other.equals(column)
    assert digest(other) != digest(column)
    fewer = column.slice(0, 1002)
    assert digest(fewer) != digest(column)


@given(cuts=st.lists(st.integers(0, 1002), max_size=6), target=st.integers(2000, 200_000))
@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_digest_does_not_depend_on_chunks_or_row_groups(
    table: pa.Table, cuts: list[int], target: int
) -> None:
    assert digest(chunked(table, cuts), target_bytes=target) == digest(table)


def test_digest_is_that_of_what_is_stored(table: pa.Table, tmp_path: Path) -> None:
    # Others come back from Parquet under other types.
    plain = table.select(["null", "bool", "small", "whole", "real", "decimal", "text", "struct"])
    path = tmp_path / "table.parquet"
    pq.write_table(plain, path, row_group_size=100)
    reader = pa.RecordBatchReader.from_batches(plain.schema, plain.to_batches(max_chunksize=70))
    assert digest(path) == digest(plain) == digest(reader)
    assert digest(plain.replace_schema_metadata({"note": "x"})) == digest(plain)
    padded = pa.concat_tables([plain.slice(900), plain]).slice(103)
    assert digest(padded) == digest(plain)


def test_frame_that_was_not_changed_has_the_same_digest() -> None:
    frame = pd.DataFrame(
        {"n": np.arange(100.0), "s": list("ab") * 50, "c": pd.Categorical(list("xyzx") * 25)}
    )
    assert digest(frame) == digest(frame.copy()) == digest(pa.Table.from_pandas(frame))
    assert digest(frame) != digest(frame, index=True)
    assert digest(frame) != digest(frame.rename(columns={"n": "m"}))
    assert digest(frame) != digest(frame.astype({"n": "float32"}))
    assert digest(frame) != digest(frame.iloc[::-1])
    assert digest(frame) != digest(frame[["s", "n", "c"]])


def test_dictionary_counts_by_its_values() -> None:
    def of(indices: list[int | None], values: list[Any], *, ordered: bool = False) -> str:
        array = pa.DictionaryArray.from_arrays(
            pa.array(indices, pa.int8()), values, ordered=ordered
        )
        return digest(pa.table({"c": array}))

    assert of([0, 1, None, 0], ["a", "b"]) == of([2, 0, None, 2], ["b", "unused", "a"])
    assert of([0, 1, None, 0], ["a", "b"]) != of([1, 0, None, 1], ["a", "b"])
    assert of([0, 1], ["a", "b"], ordered=True) != of([1, 0], ["b", "a"], ordered=True)
    assert of([0, 1], ["a", "b"], ordered=True) != of([0, 1], ["a", "b"])
    assert of([0, 1], [0.0, 1.0]) != of([0, 1], [-0.0, 1.0])
    assert of([0, None], ["", "x"]) != of([0, 0], ["", "x"])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([0.0], [-0.0]),
        ([None], [0.0]),
        ([None, 1.0], [1.0, None]),
        (["ab", "c"], ["a", "bc"]),
        (["", None], [None, ""]),
        ([[1], [2, 3]], [[1, 2], [3]]),
        ([[], None], [None, []]),
        ([True] * 8 + [False], [True] * 8 + [None]),
        ([True] * 8, [True] * 9),
    ],
)
def test_what_differs_in_a_bit_or_a_border_differs(one: list[Any], other: list[Any]) -> None:
    assert digest(pa.table({"c": one})) != digest(pa.table({"c": other}))


def test_two_columns_are_no_other_two(table: pa.Table) -> None:
    swapped = table.rename_columns(
        [
            "large_text" if n == "text" else "text" if n == "large_text" else n
            for n in table.column_names
        ]
    )
    assert digest(swapped) != digest(table)
    assert digest(pa.table({"a": [1, 2], "b": [3, 4]})) != digest(
        pa.table({"a": [1, 3], "b": [2, 4]})
    )


def test_table_without_columns_or_rows_counts_by_what_it_has() -> None:
    def empty(rows: int) -> Iterator[pa.RecordBatch]:
        yield pa.RecordBatch.from_struct_array(pa.array([{}] * rows, pa.struct([])))

    none = [
        digest(pa.RecordBatchReader.from_batches(pa.schema([]), empty(rows))) for rows in (1, 2)
    ]
    assert len({*none, digest(pa.table({"a": pa.array([], pa.int64())}))}) == 3


def test_file_counts_by_its_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 40_000
    path = tmp_path / "file"
    path.write_bytes(data)

    def of(source: Any) -> str:
        batches = file_record_batches(source)
        content = ContentDigest(batches.schema)
        assert sum(len(batch) for batch in content.watch(batches)) == len(data)
        return content.hexdigest()

    assert of(path) == of(data)
    assert of(data[:-1] + b"x") != of(data)


def test_what_is_published_beside_the_rows_counts(table: pa.Table) -> None:
    assert len({digest(table), digest(table, b""), digest(table, b"mock")}) == 3


def test_tag_depends_on_key_table_and_content() -> None:
    tags = {
        content_tag(key, table=name, content=content)
        for key in (KEY, bytes(32))
        for name in ("plans", "visits")
        for content in ("ab" * 32, "cd" * 32)
    }
    assert len(tags) == 8
