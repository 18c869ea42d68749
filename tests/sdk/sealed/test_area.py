from __future__ import annotations

import gc
import itertools

import pyarrow as pa
import pytest

from clf_sdk.sealed._area import PlaintextArea, map_memory, padded


def test_buffers_lie_one_behind_the_other_as_arrow_wants_them() -> None:
    sizes = [1, 64, 100, 0, 4096]
    area = PlaintextArea(sum(map(padded, sizes)))
    buffers = [area.buffer(size) for size in sizes]
    assert [buffer.size for buffer in buffers] == sizes
    taken = [buffer for buffer in buffers if buffer.size]
    assert all(buffer.address % 64 == 0 for buffer in taken)
    for before, after in itertools.pairwise(taken):
        assert after.address == before.address + padded(before.size)


def test_an_area_gives_no_more_than_it_has() -> None:
    area = PlaintextArea(128)
    area.buffer(65)
    with pytest.raises(ValueError, match="fewer bytes"):
        area.buffer(1)


def test_memory_lives_as_long_as_an_array_in_it() -> None:
    area = PlaintextArea(64)
    buffer = area.buffer(64)
    memoryview(buffer).cast("B")[:] = bytes(range(64))
    array = pa.Array.from_buffers(pa.uint8(), 64, [None, buffer])
    del area, buffer
    gc.collect()
    assert array.to_pylist() == list(range(64))


@pytest.mark.parametrize("size", [1 << 60, 1 << 70])
def test_more_memory_than_there_is_has_an_error_of_its_own(size: int) -> None:
    area = PlaintextArea(size)  # a claim costs nothing
    with pytest.raises(MemoryError, match="row group"):
        area.buffer(1)
    with pytest.raises(MemoryError):
        map_memory(size)
