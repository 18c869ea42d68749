"""Bodies go straight from a socket to whoever stores them: an extension of ASGI, for uvicorn.

The counterpart of `_sendfile`. The event loop reads a head and leaves the body to a thread, which
reads large pieces into one buffer: three copies and most of the interpreter's work fall away.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias, cast

import httptools
from starlette.requests import ClientDisconnect
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from clf_sdk.errors import ClfError
from clf_server._middleware import Scope
from clf_server._sendfile import SendfileProtocol
from clf_server._upload_ledger import STALL_SECONDS, stalled

INTAKE = "clf.intake"
_LEAST_BYTES = 256 << 10  # what is smaller has mostly come with its head
_BUFFER_BYTES = 1 << 20
_PROGRESS_BYTES = 2 << 20  # so much must come in each `STALL_SECONDS`
MOST_THREADS = 32

Write: TypeAlias = Callable[[Iterable[Any]], None]


class DirectBody:
    """The body of one request, as the extension offers it in place of ``receive``.

    Attributes
    ----------
    size
        Its length in bytes.
    """

    def __init__(self, protocol: IntakeProtocol, cycle: RequestResponseCycle, size: int) -> None:
        self._protocol = protocol
        self._cycle = cycle
        self.size = size

    async def into(self, write: Write) -> None:
        """Pass the whole body to a function that writes pieces, in a thread.

        A piece lies in a buffer that is used again. When writing fails, the rest is read
        nevertheless, so that the sender hears of it.

        Raises
        ------
        ClientDisconnect
            The sender went away.
        DeadlineExceeded
            Nothing arrived for two minutes.
        """
        await self._protocol.take_body(self._cycle, self.size, write)


class IntakeProtocol(SendfileProtocol):
    """uvicorn's HTTP protocol for connections without TLS, with the extensions of both ways."""

    _pool = ThreadPoolExecutor(2 * MOST_THREADS, thread_name_prefix="intake")
    _running = 0  # in all connections; only the event loop changes it

    def on_headers_complete(self) -> None:
        """Leave a large body in the socket until somebody asks for it."""
        if self.parser.should_upgrade():
            # The parser would take the body of such a request for the next one.
            raise ValueError("this listener speaks HTTP/1.1 and nothing else")
        super().on_headers_complete()
        size = self._size_of_body()
        # Slow senders may keep all threads; whoever comes then goes through the event loop.
        if size is not None and IntakeProtocol._running < MOST_THREADS:
            scope = cast("Scope", self.scope)
            scope["extensions"] = {INTAKE: DirectBody(self, self.cycle, size)}
            self.flow.pause_reading()

    def _size_of_body(self) -> int | None:
        """Length of a body that is worth a thread, and that the parser knows beforehand."""
        headers = dict(self.headers)
        size = headers.get(b"content-length", b"")
        if (
            self.scope["method"] != "PUT"
            or self.expect_100_continue
            or b"transfer-encoding" in headers
            or not size.isdigit()
        ):
            return None
        return int(size) if int(size) >= _LEAST_BYTES else None

    async def take_body(self, cycle: RequestResponseCycle, size: int, write: Write) -> None:
        """See `DirectBody.into`."""
        if cycle.disconnected or self.transport.is_closing():
            raise ClientDisconnect
        self.flow.pause_reading()
        early, cycle.body = bytes(cycle.body), bytearray()
        # A descriptor of our own: the connection may close, and its number be given to another.
        sock = socket.socket(fileno=os.dup(self.transport.get_extra_info("socket").fileno()))
        intake = _Intake(sock, size - len(early), write)
        IntakeProtocol._running += 1
        try:
            failed = await _finish(self.loop.run_in_executor(self._pool, intake.run, early), sock)
        except BaseException:
            cycle.keep_alive = False  # nobody knows where the next request begins
            raise
        finally:
            IntakeProtocol._running -= 1
            sock.close()
            if len(early) < size and self.parser is not None:
                # The parser has not seen the rest, and would take the next request for it.
                self.parser = _new_parser(self)
                cycle.more_body = False
                cycle.message_event.set()
        if failed is not None:
            raise failed


def _new_parser(protocol: IntakeProtocol) -> httptools.HttpRequestParser:
    parser = httptools.HttpRequestParser(protocol)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it
    return parser


async def _finish(running: asyncio.Future[ClfError | None], sock: socket.socket) -> ClfError | None:
    """Wait for a thread; never leave while it may still write."""
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)  # which ends the thread's next read
        while not running.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        raise


class _Intake:
    """Reads what is left of a body, in a thread."""

    def __init__(self, sock: socket.socket, left: int, write: Write) -> None:
        self._sock = sock
        self._left = left
        self._write = write
        self._due_at, self._due_bytes = 0.0, left

    def _read(self, buffer: memoryview) -> int:
        now = time.monotonic()
        if self._left <= self._due_bytes:
            self._due_at, self._due_bytes = now + STALL_SECONDS, self._left - _PROGRESS_BYTES
        self._sock.settimeout(max(self._due_at - now, 0.001))
        try:
            count = self._sock.recv_into(buffer, min(self._left, len(buffer)))
        except TimeoutError as error:
            raise stalled() from error
        except OSError as error:
            raise ClientDisconnect from error
        if not count:
            raise ClientDisconnect
        return count

    def run(self, early: bytes) -> ClfError | None:
        """Write what came with the head, and all that follows; return why writing failed."""
        buffer = memoryview(bytearray(_BUFFER_BYTES))
        failed: ClfError | None = None
        piece: bytes | memoryview = early
        while True:
            if failed is None:
                try:
                    self._write([piece])
                except ClfError as error:
                    failed = error
            if not self._left:
                break
            count = self._read(buffer)
            self._left -= count
            piece = buffer[:count]
        return failed
