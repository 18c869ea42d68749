"""Memory for row groups: one mapping for all columns of each.

The kernel zeroes each fresh page, and for pages of 4 KiB that takes longer than the cipher. A
mapping of its own may get huge pages, which Arrow's allocator does not ask for, and is as large as
what it holds.
"""

from __future__ import annotations

import mmap

import pyarrow as pa

_ALIGNMENT_BYTES = 64  # of Arrow's buffers


def map_memory(size: int) -> memoryview:
    """Return so many bytes of fresh memory, of huge pages where the kernel has them."""
    try:
        area = mmap.mmap(-1, max(size, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, OverflowError) as error:
        raise MemoryError(f"no memory for a row group of {size:,} bytes") from error
    area.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(area)


def padded(size: int) -> int:
    """Round up to where the next buffer may begin."""
    return -(-size // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES


class PlaintextArea:
    """Gives out buffers one behind the other; freed when the last array in it is.

    Parameters
    ----------
    size
        Sum of the `padded` sizes of all buffers, in bytes.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._left = memoryview(b"")
        self._mapped = False

    def buffer(self, size: int) -> pa.Buffer:
        """Return a buffer of so many bytes, all of them zero."""
        if not self._mapped:
            # Not before the first use: until a ciphertext was checked, its length is only claimed.
            self._left, self._mapped = map_memory(self._size), True
        room, self._left = self._left[:size], self._left[padded(size) :]
        if len(room) != size:
            raise ValueError("the area was made for fewer bytes")
        return pa.py_buffer(room)
