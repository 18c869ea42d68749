from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pytest

from clf_sdk.errors import InvalidInput
from clf_sdk.keys import derive_column_key
from clf_sdk.sealed import TableSealer, as_record_batches, iter_batches, open_table

MIB = 1 << 20


def _reader(batches: int, rows: int) -> pa.RecordBatchReader:
    schema = pa.schema([("a", pa.float64()), ("b", pa.float64())])

    def produce() -> Iterator[pa.RecordBatch]:
        for number in range(batches):
            column = pa.repeat(pa.scalar(float(number)), rows)
            yield pa.RecordBatch.from_arrays([column, column], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, produce())


def _sealer(schema: pa.Schema) -> TableSealer:
    return TableSealer(table="t", schema=schema, table_key=bytes(32), version_id="ab" * 16)


def test_memory_is_a_few_row_groups_whatever_the_size() -> None:
    target = 4 * MIB
    batches = as_record_batches(_reader(256, 64 * 1024), target_bytes=target)
    sealer = _sealer(batches.schema)
    base, peak, sealed = pa.total_allocated_bytes(), 0, 0
    for number, batch in enumerate(batches):
        sealed += len(sealer.seal(number, batch))
        peak = max(peak, pa.total_allocated_bytes() - base)
    assert sealed > 256 * MIB
    assert peak < 4 * target


def test_the_output_buffer_is_used_again() -> None:
    batches = list(as_record_batches(_reader(8, 64 * 1024), target_bytes=2 * MIB))
    sealer = _sealer(batches[0].schema)
    views = [sealer.seal(number, batch) for number, batch in enumerate(batches)]
    assert len({id(view.obj) for view in views[1:]}) == 1


def test_opening_streams_too(seal: Any) -> None:
    sealed = seal(_reader(16, 64 * 1024), target_bytes=2 * MIB)
    manifest = sealed.open_manifest()
    base, peak, rows = pa.total_allocated_bytes(), 0, 0
    for batch in iter_batches(manifest, sealed.keys(), sealed.fetch):
        rows += batch.num_rows
        peak = max(peak, pa.total_allocated_bytes() - base)
    assert rows == 16 * 64 * 1024
    assert peak < 3 * 2 * MIB


@pytest.mark.parametrize(("batches", "rows"), [(1, MIB), (4096, 64), (3, 200_000), (7, 1)])
def test_row_groups_have_about_the_target_size(batches: int, rows: int) -> None:
    target = MIB
    cut = list(as_record_batches(_reader(batches, rows), target_bytes=target))
    assert sum(batch.num_rows for batch in cut) == batches * rows
    for batch in cut[:-1]:
        assert target // 2 <= batch.nbytes <= target * 3 // 2


def test_cutting_what_was_cut_changes_nothing() -> None:
    once = list(as_record_batches(_reader(50, 10_000), target_bytes=MIB))
    reader = pa.RecordBatchReader.from_batches(once[0].schema, once)
    twice = list(as_record_batches(reader, target_bytes=MIB))
    assert [batch.num_rows for batch in once] == [batch.num_rows for batch in twice]


def test_ranges_join_neighbours_and_leave_out_what_lies_far_between(seal: Any) -> None:
    wide = pa.array(["x" * 100_000])
    table = pa.table({"a": [1], "b": [2], "c": wide, "d": [4], "e": [5]})
    sealed = seal(table)
    reader = sealed.reader()
    (everything,) = reader.ranges(0)
    assert (everything.start, everything.stop) == (0, len(sealed.objects["0"]))
    assert [part.column for part in everything.parts] == list("abcde")
    first, second = reader.ranges(0, ["e", "a"])
    assert [part.column for part in first.parts] == ["a"]
    assert [part.column for part in second.parts] == ["e"]
    (bridged,) = reader.ranges(0, ["d", "e"])
    for part in bridged.parts:
        begin = bridged.start + part.offset
        assert sealed.objects["0"][begin : begin + part.length] == sealed.segment(0, part.column)
    assert reader.ranges(0, []) == []


def test_only_the_ranges_of_the_wanted_columns_are_fetched(seal: Any) -> None:
    table = pa.table({"a": ["x" * 200_000], "b": [1]})
    sealed = seal(table)
    assert sealed.open(["b"]).to_pydict() == {"b": [1]}
    assert sum(stop - start for _, start, stop in sealed.fetched) < 1000


def test_opening_takes_any_buffer_and_keeps_none_of_it(seal: Any) -> None:
    sealed = seal(pa.table({"a": [1, 2, 3]}))
    received = bytearray(sealed.segment(0, "a"))
    opened = sealed.reader().open(0, "a", memoryview(received))
    received[:] = bytes(len(received))
    assert opened.to_pylist() == [1, 2, 3]


def test_a_sealer_refuses_what_is_not_its_table() -> None:
    schema = pa.schema([("a", pa.int64())])
    sealer = _sealer(schema)
    for wrong in (
        pa.record_batch({"b": [1]}),
        pa.record_batch({"a": ["x"]}),
        pa.record_batch({"a": pa.array([], pa.int64())}),
    ):
        with pytest.raises(InvalidInput):
            sealer.seal(0, wrong)
    with pytest.raises(InvalidInput):
        _sealer(pa.schema([("a", pa.string_view())]))
    assert sealer.finish().manifest.rows == 0
    with pytest.raises(RuntimeError, match="sealed already"):
        sealer.seal(0, pa.record_batch({"a": [1]}))


def test_a_row_group_is_sealed_once_and_none_is_left_out() -> None:
    batch = pa.record_batch({"a": [1]})
    sealer = _sealer(batch.schema)
    sealer.seal(1, batch)
    with pytest.raises(RuntimeError, match="sealed already"):
        sealer.seal(1, batch)
    with pytest.raises(RuntimeError, match="left out"):
        sealer.finish()


def test_threads_seal_one_table_together() -> None:
    batches = list(as_record_batches(_reader(16, 64 * 1024), target_bytes=2 * MIB))
    sealer = _sealer(batches[0].schema)
    with ThreadPoolExecutor(4) as pool:
        objects = list(
            pool.map(lambda entry: bytes(sealer.seal(*entry)), enumerate(batches), timeout=60)
        )
    manifest = sealer.finish().manifest
    keys = {
        name: derive_column_key(bytes(32), manifest.version_id, name)
        for name in manifest.schema.names
    }
    opened = open_table(manifest, keys, lambda name, a, b: objects[int(name)][a:b])
    assert opened.equals(pa.Table.from_batches(batches))


def test_reprs_show_neither_keys_nor_rows(seal: Any) -> None:
    sealed = seal(pa.table({"a": ["secret"]}))
    shown = repr(sealed.reader()) + repr(sealed.manifest) + repr(_sealer(sealed.manifest.schema))
    assert "secret" not in shown
    assert derive_column_key(sealed.table_key, sealed.version_id, "a").hex() not in shown
