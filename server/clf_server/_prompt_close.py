"""TLS connections that end when the server ends them.

A TLS connection that is closed waits for the other side to say goodbye, half a minute by default. A
client that keeps an idle connection for its next request never does, so every stop of a server
would last as long as the server is willing to wait.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_FAREWELL_SECONDS = 0.5


class _PromptTransport:
    """A transport whose other side has a moment to answer when it is closed."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._waiting: asyncio.TimerHandle | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def close(self) -> None:
        self._transport.close()
        if self._waiting is None:
            self._waiting = self._loop.call_later(_FAREWELL_SECONDS, self._end)

    def ended(self) -> None:
        """Take note that the connection is gone."""
        if self._waiting is not None:
            self._waiting.cancel()

    def _end(self) -> None:
        """Give up on the other side, unless it is still reading an answer."""
        if self._transport.get_write_buffer_size():
            self._waiting = self._loop.call_later(_FAREWELL_SECONDS, self._end)
        else:
            self._transport.abort()


class PromptCloseProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol for connections with TLS, which waits for no goodbye."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection."""
        self._prompt = _PromptTransport(transport, self.loop)
        super().connection_made(self._prompt)  # type: ignore[arg-type]

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note that a connection is gone."""
        self._prompt.ended()
        super().connection_lost(exc)
