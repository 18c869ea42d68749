"""A shared file in the enclave, read by range or like any file (docs/protocol.md §4.6)."""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from itertools import accumulate
from typing import Any

from clf_enclave._pull import TablePull
from clf_sdk.errors import InvalidInput
from clf_sdk.sealed import FILE_COLUMN, FILE_SCHEMA


class SealedFile(io.RawIOBase):
    """Reads ranges of a file that an owner shares; only the row groups that they touch are pulled.

    It is a raw stream of the standard library, for one thread: ``io.BufferedReader(file)`` fits
    wherever a binary file does. The row group that was read last stays in memory.

    Parameters
    ----------
    pull
        The input that is a file.

    Raises
    ------
    InvalidInput
        The input is a table.
    """

    def __init__(self, pull: TablePull) -> None:
        super().__init__()
        if pull.manifest.schema != FILE_SCHEMA:
            raise InvalidInput(
                "the input is a table, not a file", hint="read it as a table, or share it as a file"
            )
        self._pull = pull
        rows = [group.rows for group in pull.manifest.row_groups]
        self._starts = list(accumulate(rows, initial=0))
        self._position = 0
        self._held: tuple[int, memoryview] | None = None

    @property
    def size(self) -> int:
        """Length of the file in bytes."""
        return self._starts[-1]

    def readable(self) -> bool:
        """See `io.IOBase.readable`."""
        return True

    def seekable(self) -> bool:
        """See `io.IOBase.seekable`."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """See `io.IOBase.seek`."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        if start + offset < 0:
            raise InvalidInput("a file has nothing before its first byte")
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        """See `io.IOBase.tell`."""
        return self._position

    def readinto(self, buffer: Any) -> int:
        """See `io.RawIOBase.readinto`; it fills from one row group, hence sometimes less."""
        target = memoryview(buffer).cast("B")
        if self._position >= self.size or not target.nbytes:
            return 0
        number = bisect_right(self._starts, self._position) - 1
        held = self._group(number)
        offset = self._position - self._starts[number]
        count = min(target.nbytes, held.nbytes - offset)
        target[:count] = held[offset : offset + count]
        self._position += count
        return count

    def pread(self, offset: int, length: int) -> bytes:
        """Read a range; beyond the end it stops there. The stream's position stays.

        Parameters
        ----------
        offset
            First byte.
        length
            How many.

        Raises
        ------
        InvalidInput
            One of them is negative.
        SealBroken, TransportError
            The range can't be had.
        """
        if offset < 0 or length < 0:
            raise InvalidInput("a range has an offset and a length of at least 0")
        before = self._position
        target = memoryview(bytearray(max(0, min(length, self.size - offset))))
        try:
            self._position, filled = offset, 0
            while filled < len(target):
                filled += self.readinto(target[filled:])
        finally:
            self._position = before
        return bytes(target)

    def _group(self, number: int) -> memoryview:
        if self._held is None or self._held[0] != number:
            self._held = None  # not two at once
            opened = self._pull.row_group(number)[FILE_COLUMN]
            self._held = (number, memoryview(opened.to_numpy()))
        return self._held[1]
