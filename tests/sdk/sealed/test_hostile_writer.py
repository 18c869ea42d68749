"""must: what an authentic but hostile writer sealed is validated before use."""

from __future__ import annotations

import struct
from typing import Any

import pyarrow as pa
import pytest
from blake3 import blake3

from clf_sdk.errors import SealBroken
from clf_sdk.keys import derive_column_key
from clf_sdk.sealed import Manifest, RowGroup, RowGroupReader
from clf_sdk.sealed._segment import BLOCK_BYTES, SegmentEncryptor, segment_context

KEY, VERSION_ID = bytes(32), "ab" * 16


def _stream(*batches: pa.RecordBatch, schema: pa.Schema | None = None, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    settings = pa.ipc.IpcWriteOptions(**options)
    with pa.ipc.new_stream(sink, schema or batches[0].schema, options=settings) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return bytes(sink.getvalue())


def _batch(column: Any, name: str = "a") -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([column], names=[name])


def _open(plaintext: bytes, type_: pa.DataType, rows: int) -> pa.Array:
    key = derive_column_key(KEY, VERSION_ID, "a")
    encryptor = SegmentEncryptor(key, segment_context("t", VERSION_ID, "a", 0))
    sealed = bytearray(len(plaintext) + BLOCK_BYTES)
    count = encryptor.update_into(memoryview(plaintext), memoryview(sealed))
    segment = encryptor.header + bytes(sealed[:count]) + encryptor.finalize()
    group = RowGroup(rows, len(segment), ((len(segment), blake3(segment).hexdigest()),))
    message = pa.schema([("a", type_)]).serialize().to_pybytes()
    manifest = Manifest("t", VERSION_ID, message, rows, (group,))
    return RowGroupReader(manifest, {"a": key}).open(0, "a", segment)


GOOD = pa.array([1, 2, 3])
STRINGS = pa.array(["ab", "cd", "ef"])


def test_an_honest_stream_opens() -> None:
    assert _open(_stream(_batch(GOOD)), pa.int64(), 3).to_pylist() == [1, 2, 3]


def _corrupt_offsets(offsets: list[int]) -> pa.Array:
    raw = pa.py_buffer(struct.pack(f"<{len(offsets)}i", *offsets))
    return pa.Array.from_buffers(
        pa.string(), len(offsets) - 1, [None, raw, pa.py_buffer(b"abcdef")]
    )


def _dictionary(indices: list[int]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(indices, pa.int8()), ["x", "y"], safe=False)


_INVALID_UTF8 = pa.Array.from_buffers(
    pa.string(), 1, [None, pa.py_buffer(struct.pack("<2i", 0, 1)), pa.py_buffer(b"\xff")]
)

HOSTILE: dict[str, tuple[bytes, pa.DataType, int]] = {
    "empty": (b"", pa.int64(), 3),
    "noise": (b"\x00\xff" * 99, pa.int64(), 3),
    "another type": (_stream(_batch(GOOD.cast(pa.int32()))), pa.int64(), 3),
    "another name": (_stream(_batch(GOOD, "b")), pa.int64(), 3),
    "metadata": (
        _stream(_batch(GOOD).replace_schema_metadata({"note": "smuggled"})),
        pa.int64(),
        3,
    ),
    "too few rows": (_stream(_batch(GOOD)), pa.int64(), 4),
    "too many rows": (_stream(_batch(GOOD)), pa.int64(), 2),
    "no batch": (_stream(schema=_batch(GOOD).schema), pa.int64(), 3),
    "two batches": (_stream(_batch(GOOD), _batch(GOOD)), pa.int64(), 3),
    "two columns": (_stream(pa.record_batch([GOOD, GOOD], names=["a", "b"])), pa.int64(), 3),
    "trailing bytes": (_stream(_batch(GOOD)) + b"12345678", pa.int64(), 3),
    "another stream behind": (_stream(_batch(GOOD)) * 2, pa.int64(), 3),
    "offsets that go back": (_stream(_batch(_corrupt_offsets([0, 4, 2, 6]))), pa.string(), 3),
    "offsets beyond the data": (
        _stream(_batch(STRINGS)).replace(b"\x06\0\0\0abcdef", b"\xff\0\0\0abcdef"),
        pa.string(),
        3,
    ),
    "text that is not UTF-8": (_stream(_batch(_INVALID_UTF8)), pa.string(), 1),
    "dictionary index too large": (
        _stream(_batch(_dictionary([0, 1, 9]))),
        pa.dictionary(pa.int8(), pa.string()),
        3,
    ),
    "dictionary index negative": (
        _stream(_batch(_dictionary([0, -1, 1]))),
        pa.dictionary(pa.int8(), pa.string()),
        3,
    ),
    "compressed": (_stream(_batch(pa.array([0] * 9999)), compression="zstd"), pa.int64(), 9999),
    "compressed dictionary": (
        _stream(_batch(pa.array(["x" * 9999]).dictionary_encode()), compression="lz4"),
        pa.dictionary(pa.int32(), pa.string()),
        1,
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_stream_breaks_the_seal_and_nothing_else(name: str) -> None:
    plaintext, type_, rows = HOSTILE[name]
    with pytest.raises(SealBroken) as caught:
        _open(plaintext, type_, rows)
    assert "abcdef" not in str(caught.value)


def test_a_small_compressed_stream_never_unfolds() -> None:
    bomb = _stream(_batch(pa.array([bytes(64 << 20)])), compression="zstd")
    assert len(bomb) < 1 << 20
    before = pa.default_memory_pool().max_memory()
    used = pa.total_allocated_bytes()
    with pytest.raises(SealBroken):
        _open(bomb, pa.binary(), 1)
    assert pa.total_allocated_bytes() - used < 1 << 20
    assert pa.default_memory_pool().max_memory() == before


def test_no_flipped_byte_of_an_authentic_stream_raises_anything_else() -> None:
    """Whatever the stream says, opening ends in an array that is valid, or in SealBroken."""
    honest = _stream(_batch(pa.array(["ab", None, "cd"]).dictionary_encode()))
    for position in range(len(honest)):
        for mask in (0x01, 0x80, 0xFF):
            changed = bytearray(honest)
            changed[position] ^= mask
            try:
                opened = _open(bytes(changed), pa.dictionary(pa.int32(), pa.string()), 3)
            except SealBroken:
                continue
            opened.validate(full=True)
            assert len(opened) == 3
