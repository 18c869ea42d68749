"""Memory for row groups: one mapping for all columns of each.

The kernel zeroes each fresh page, and for pages of 4 KiB that takes longer than the cipher. A
mapping of its own may get huge pages, which Arrow's allocator does not ask for, and is as large as
what it holds.
"""

from __future__ import annotations

import contextlib
import mmap

import pyarrow as pa

from clf_sdk.errors import TooLarge

_ALIGNMENT_BYTES = 64  # of Arrow's buffers
_LEAST_BYTES = 1 << 20  # a mapping takes whole pages, and a system call
_MOST_BYTES = 512 << 20


def map_memory(size: int) -> memoryview:
    """Return so many bytes of fresh memory, of huge pages where the kernel has them.

    Raises
    ------
    MemoryError
        There are not so many.
    """
    try:
        area = mmap.mmap(-1, max(size, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, OverflowError) as error:
        raise MemoryError(f"no memory for {size:,} bytes") from error
    with contextlib.suppress(OSError):  # a kernel without huge pages
        area.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(area)


def padded(size: int) -> int:
    """Round up to where the next buffer may begin."""
    return -(-size // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES


class PlaintextArea:
    """Gives out buffers one behind the other; freed when the last array in it is.

    Where one mapping does not pay, or is larger than any honest row group, each buffer is
    allocated by itself: sizes are only claimed until the ciphertext was checked.

    Parameters
    ----------
    size
        Sum of the `padded` sizes of all buffers, in bytes.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._left: memoryview | None = None

    def buffer(self, size: int) -> pa.Buffer:
        """Return a buffer of so many bytes.

        Raises
        ------
        TooLarge
            There is no memory for it.
        """
        try:
            if not _LEAST_BYTES <= self._size <= _MOST_BYTES:
                return pa.allocate_buffer(size)
            if self._left is None:
                self._left = map_memory(self._size)
        except MemoryError as error:
            raise TooLarge(
                f"there is no memory for a row group of {self._size:,} bytes",
                hint="give the enclave more memory, or share the table in smaller row groups",
            ) from error
        room, self._left = self._left[:size], self._left[padded(size) :]
        if len(room) != size:
            raise ValueError("the area was made for fewer bytes")
        return pa.py_buffer(room)
