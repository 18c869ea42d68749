"""Bodies go straight from a socket to whoever stores them: an extension of ASGI, for uvicorn.

The counterpart of `_sendfile`. The event loop reads a head and leaves the body to a thread, which
reads large pieces into one buffer: three copies and most of the interpreter's work fall away.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias, cast

import httptools
from starlette.requests import ClientDisconnect

from clf_sdk.errors import ClfError, DeadlineExceeded
from clf_server._middleware import Receive, Scope, Send
from clf_server._sendfile import SendfileProtocol
from clf_server._upload_ledger import STALL_SECONDS

INTAKE = "clf.intake"
_LEAST_BYTES = 256 << 10  # what is smaller has mostly come with its head
_BUFFER_BYTES = 1 << 20
_PROGRESS_BYTES = 2 << 20  # so much must come in each `STALL_SECONDS`
_MOST_THREADS = 32

Write: TypeAlias = Callable[[Iterable[Any]], None]


class DirectBody:
    """The body of one request, as the extension offers it in place of ``receive``.

    Attributes
    ----------
    size
        Its length in bytes.
    """

    def __init__(self, protocol: IntakeProtocol, scope: Scope, size: int) -> None:
        self._protocol = protocol
        self._scope = scope
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
        await self._protocol.take_body(self._scope, self.size, write)


class IntakeProtocol(SendfileProtocol):
    """uvicorn's HTTP protocol for connections without TLS, with the extensions of both ways."""

    _pool = ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="intake")

    def on_headers_complete(self) -> None:
        """Leave a large body in the socket until somebody asks for it."""
        super().on_headers_complete()
        if self._size_of_body(cast("Scope", self.scope)) is not None:
            self.flow.pause_reading()

    def _size_of_body(self, scope: Scope) -> int | None:
        """Length of a body that can be taken directly."""
        headers = dict(scope["headers"])
        size = headers.get(b"content-length", b"")
        if scope["method"] != "PUT" or self.expect_100_continue or b"transfer-encoding" in headers:
            return None
        return int(size) if size.isdigit() and int(size) >= _LEAST_BYTES else None

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = self._size_of_body(scope)
        if size is not None:
            scope["extensions"] = {INTAKE: DirectBody(self, scope, size)}
        await super()._serve(scope, receive, send)

    async def take_body(self, scope: Scope, size: int, write: Write) -> None:
        """See `DirectBody.into`."""
        cycle = self.cycle
        if cycle.scope is not scope or self.transport.is_closing():
            raise ClientDisconnect
        self.flow.pause_reading()
        early, cycle.body = bytes(cycle.body), bytearray()
        # A descriptor of our own: the connection may close, and its number be given to another.
        sock = socket.socket(fileno=os.dup(self.transport.get_extra_info("socket").fileno()))
        running = self.loop.run_in_executor(
            self._pool, _Intake(sock, size - len(early), write).run, early
        )
        keep_alive, cycle.keep_alive = cycle.keep_alive, False
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:
            sock.shutdown(socket.SHUT_RDWR)  # which ends the thread's next read
            await asyncio.wait([running])
            raise
        except ClfError as error:
            cycle.keep_alive = keep_alive and not isinstance(error, DeadlineExceeded)
            raise
        else:
            cycle.keep_alive = keep_alive
        finally:
            sock.close()
            # The parser has not seen the body, and would take the next request for it.
            self.parser = httptools.HttpRequestParser(self)
            cycle.more_body = False
            cycle.message_event.set()


class _Intake:
    """Reads what is left of a body, in a thread."""

    def __init__(self, sock: socket.socket, left: int, write: Write) -> None:
        self._sock = sock
        self._left = left
        self._write = write
        self._due_at = self._due_bytes = 0.0

    def _read(self, buffer: memoryview) -> int:
        now = time.monotonic()
        if self._left <= self._due_bytes:
            self._due_at, self._due_bytes = now + STALL_SECONDS, self._left - _PROGRESS_BYTES
        self._sock.settimeout(max(self._due_at - now, 0.001))
        try:
            count = self._sock.recv_into(buffer, min(self._left, len(buffer)))
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"the upload made no progress for {STALL_SECONDS} seconds",
                hint="nothing was published; share it again",
            ) from error
        except OSError as error:
            raise ClientDisconnect from error
        if not count:
            raise ClientDisconnect
        return count

    def run(self, early: bytes) -> None:
        """Write what came with the head, and all that follows."""
        buffer = memoryview(bytearray(_BUFFER_BYTES))
        failed: ClfError | None = None
        self._due_bytes = self._left
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
        if failed is not None:
            raise failed
