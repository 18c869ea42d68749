from __future__ import annotations

import gc
import itertools

import pyarrow as pa
import pytest

from clf_sdk.errors import TooLarge
from clf_sdk.sealed import _area
from clf_sdk.sealed._area import PlaintextArea, map_memory, padded


def test_buffers_lie_one_behind_the_other_as_arrow_wants_them() -> None:
    sizes = [1, 64, 100, 0, 1 << 20]
    area = PlaintextArea(sum(map(padded, sizes)))
    buffers = [area.buffer(size) for size in sizes]
    assert [buffer.size for buffer in buffers] == sizes
    taken = [buffer for buffer in buffers if buffer.size]
    assert all(buffer.address % 64 == 0 for buffer in taken)
    for before, after in itertools.pairwise(taken):
        assert after.address == before.address + padded(before.size)


def test_an_area_gives_no_more_than_it_has() -> None:
    area = PlaintextArea(1 << 20)
    area.buffer((1 << 20) - 63)
    with pytest.raises(ValueError, match="fewer bytes"):
        area.buffer(1)


def test_memory_lives_as_long_as_an_array_in_it() -> None:
    area = PlaintextArea(1 << 20)
    buffer = area.buffer(64)
    memoryview(buffer).cast("B")[:] = bytes(range(64))
    array = pa.Array.from_buffers(pa.uint8(), 64, [None, buffer])
    del area, buffer
    gc.collect()
    assert array.to_pylist() == list(range(64))


@pytest.mark.parametrize("size", [1 << 60, 1 << 70])
def test_what_is_only_claimed_takes_no_memory(size: int) -> None:
    """One column that is as it says, beside others that claim more than any machine has."""
    assert PlaintextArea(size).buffer(100).size == 100
    with pytest.raises(MemoryError):
        map_memory(size)


def test_more_memory_than_there_is_has_an_error_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(TooLarge, match="row group"):
        PlaintextArea(1 << 60).buffer(1 << 60)
    monkeypatch.setattr(_area, "_MOST_BYTES", 1 << 61)
    with pytest.raises(TooLarge, match="row group"):
        PlaintextArea(1 << 60).buffer(1)


def test_small_row_groups_take_no_pages_of_their_own() -> None:
    used = pa.total_allocated_bytes()
    buffers = [PlaintextArea(64).buffer(8) for _ in range(1000)]
    assert pa.total_allocated_bytes() - used >= 1000 * 8
    assert len({buffer.address >> 12 for buffer in buffers}) < 500


def test_a_kernel_without_huge_pages_is_no_hindrance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmap.MADV_HUGEPAGE", 9999)  # EINVAL
    view = map_memory(1 << 21)
    view[:5] = b"bytes"
    assert bytes(view[:6]) == b"bytes\0"
