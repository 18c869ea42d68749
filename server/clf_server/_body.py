"""A request body, handed from the event loop to a thread that reads it like a file."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Sequence

import pyarrow as pa

from clf_sdk.errors import Malformed, TooLarge

_HIGH_WATER_BYTES = 8 << 20
_MOST_MESSAGE_BYTES = 256 << 20
_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"


class BodyStream:
    """Chunks go in on the event loop, reads come out in a worker thread.

    The event loop waits while more than 8 MiB lie here; a read gets exactly what it asked for,
    in memory of Arrow's pool, which is reused from read to read.

    Parameters
    ----------
    most_bytes
        Limit of the whole body.
    """

    def __init__(self, most_bytes: int) -> None:
        self._chunks: deque[memoryview] = deque()
        self._waiting_bytes = 0
        self._left_bytes = most_bytes
        self._ended = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Event()
        self._room.set()
        self._tail = b""
        self.closed = False

    # -- event loop side -----------------------------------------------------------------------

    async def feed(self, chunks: Sequence[bytes]) -> None:
        """Add chunks; waits while the reader lags behind.

        Raises
        ------
        TooLarge
            The body exceeds its limit.
        """
        size = sum(map(len, chunks))
        self._left_bytes -= size
        if self._left_bytes < 0:
            raise TooLarge(
                "the upload exceeds the server's size limit",
                hint="the operator can raise max_upload_bytes",
            )
        with self._changed:
            self._chunks.extend(memoryview(chunk) for chunk in chunks if chunk)
            self._waiting_bytes += size
            if self._waiting_bytes > _HIGH_WATER_BYTES:
                self._room.clear()
            self._changed.notify()
        await self._room.wait()

    def end(self, error: BaseException | None = None) -> None:
        """Say that nothing more comes; with an error, the reader raises it."""
        with self._changed:
            self._ended = True
            self._error = error
            self._changed.notify()

    def abandon(self) -> None:
        """Let a waiting writer go on: nobody reads any more. Called from the reader's thread."""
        with self._changed:
            self._chunks.clear()
            self._waiting_bytes = -(1 << 62)
        self._loop.call_soon_threadsafe(self._room.set)

    # -- reader side: the file protocol that pyarrow asks for --------------------------------------

    def readable(self) -> bool:
        """Tell pyarrow that it may read."""
        return True

    def writable(self) -> bool:
        """Tell pyarrow that it may not write."""
        return False

    def seekable(self) -> bool:
        """Tell pyarrow that it may not seek."""
        return False

    def close(self) -> None:
        """Nothing to close."""
        self.closed = True

    def read(self, size: int = -1) -> pa.Buffer | bytes:
        """Return exactly ``size`` bytes, or what is left at the end of the body."""
        if size > _MOST_MESSAGE_BYTES or size < 0:
            raise TooLarge(
                f"one Arrow message holds more than {_MOST_MESSAGE_BYTES >> 20} MiB",
                hint="send smaller record batches",
            )
        buffer = pa.allocate_buffer(size)
        target = memoryview(buffer).cast("B")
        filled = 0
        while filled < size:
            chunk = self._next(size - filled)
            if chunk is None:
                break
            target[filled : filled + len(chunk)] = chunk
            filled += len(chunk)
        if filled:
            last = bytes(target[max(0, filled - 8) : filled])
            self._tail = (self._tail + last)[-8:]
        return buffer if filled == size else buffer.slice(0, filled)

    def _next(self, most: int) -> memoryview | None:
        with self._changed:
            while not self._chunks:
                if self._error is not None:
                    raise self._error
                if self._ended:
                    return None
                self._changed.wait()
            chunk = self._chunks.popleft()
            if len(chunk) > most:
                self._chunks.appendleft(chunk[most:])
                chunk = chunk[:most]
            self._waiting_bytes -= len(chunk)
            wake = self._waiting_bytes <= _HIGH_WATER_BYTES // 2
        if wake and not self._room.is_set():
            self._loop.call_soon_threadsafe(self._room.set)
        return chunk

    def check_complete(self) -> None:
        """Check that the Arrow stream ended with its end marker and that nothing follows.

        Raises
        ------
        Malformed
            The stream was cut between two batches, or more bytes follow.
        """
        if self._tail != _END_OF_STREAM or self._next(1) is not None:
            raise Malformed(
                "the Arrow stream does not end with its end-of-stream marker",
                hint="the sender died or did not close its stream writer; send it again",
            )
