"""Files go from the page cache straight into a socket: an extension of ASGI, for uvicorn.

The extension is ``http.response.zerocopysend`` of the ASGI specification. To carry every byte
through this process costs more than all else that the data plane does.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from clf_server._middleware import Message, Receive, Scope, Send

EXTENSION = "http.response.zerocopysend"
_STALL_SECONDS = 60
_MOST_AT_ONCE_BYTES = 4 << 20  # between two of them other connections have their turn


class _Sent:
    """Stands for bytes of a body that were sent: uvicorn counts them, and writes nothing."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __len__(self) -> int:
        return self._size


class _Connection:
    """A transport that passes over what was sent."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: Any) -> None:
        if not isinstance(data, _Sent):
            self._transport.write(data)


class SendfileProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol for connections without TLS, which offers the extension."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._application, self.app = self.app, self._serve

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection; each write waits until the kernel has the last one."""
        transport.set_write_buffer_limits(high=0)
        super().connection_made(_Connection(transport))  # type: ignore[arg-type]

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def extended(message: Message) -> None:
            if message["type"] != EXTENSION:
                await send(message)
                return
            count = message["count"]
            await self._send_file(message["file"].fileno(), message["offset"], count)
            more = message.get("more_body", False)
            await send({"type": "http.response.body", "body": _Sent(count), "more_body": more})

        scope.setdefault("extensions", {})[EXTENSION] = {}
        await self._application(scope, receive, extended)

    async def _send_file(self, file: int, offset: int, count: int) -> None:
        """Send a part of a file; when it can not be sent, nothing more is on this connection."""
        await self.flow.drain()  # the head goes first
        if self.transport.is_closing():
            return
        # A descriptor of our own: the connection may close, and its number be given to another.
        sock = os.dup(self.transport.get_extra_info("socket").fileno())
        try:
            await _copy(sock, file, offset, count)
        except (OSError, TimeoutError):
            self.transport.abort()
        finally:
            os.close(sock)


async def _copy(sock: int, file: int, offset: int, left: int) -> None:
    while left:
        try:
            sent = os.sendfile(sock, file, offset, min(left, _MOST_AT_ONCE_BYTES))
        except BlockingIOError:
            await _until_writable(sock)
            continue
        if not sent:
            raise OSError("the file is shorter than it was")
        offset, left = offset + sent, left - sent
        await asyncio.sleep(0)


async def _until_writable(sock: int) -> None:
    loop = asyncio.get_running_loop()
    writable = asyncio.Event()
    loop.add_writer(sock, writable.set)
    try:
        async with asyncio.timeout(_STALL_SECONDS):
            await writable.wait()
    finally:
        loop.remove_writer(sock)
