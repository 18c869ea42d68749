"""A network in the middle: an HTTP relay that records, and changes what an attack wants changed."""

from __future__ import annotations

import contextlib
import http.client
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeAlias

_TIMEOUT_SECONDS = 30


@dataclass
class Exchange:
    """A request and its answer, on their way."""

    method: str
    path: str
    request: bytes
    headers: dict[str, str]
    status: int = 0
    answer: bytes = b""
    answer_headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    """Close the connection after so many bytes of the answer."""


Attack: TypeAlias = Callable[[Exchange], None]


def _nothing(_exchange: Exchange) -> None:
    """Leave an exchange as it is."""


class Relay:
    """Listens on one address and forwards to another.

    ``before`` sees each exchange before it reaches the server, ``after`` before the answer reaches
    the client. Before is also where an impostor answers by itself, by setting ``status``.
    """

    def __init__(
        self, listen: tuple[str, int], upstream: tuple[str, int], *, tls: Path | None = None
    ) -> None:
        self.before: Attack = _nothing
        self.after: Attack = _nothing
        self.seen: list[Exchange] = []
        self._upstream = upstream
        self._tls = tls
        relay = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def _relay(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                exchange = Exchange(
                    self.command, self.path, self.rfile.read(length), dict(self.headers.items())
                )
                relay.pass_on(exchange)
                self._answer(exchange)

            def _answer(self, exchange: Exchange) -> None:
                self.send_response_only(exchange.status)
                for name, value in exchange.answer_headers.items():
                    if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                        self.send_header(name, value)
                self.send_header("content-length", str(len(exchange.answer)))
                self.end_headers()
                self.wfile.write(exchange.answer[: exchange.cut_after])
                if exchange.cut_after is not None:
                    self.close_connection = True

            do_GET = do_POST = do_PUT = do_DELETE = _relay  # noqa: N815 - http.server's names

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its signature
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                """Clients that hang up are part of the tests."""

        self._server = Server(listen, Handler)
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls / "server.pem", tls / "server.key")
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._upstream
        if self._tls is None:
            return http.client.HTTPConnection(host, port, timeout=_TIMEOUT_SECONDS)
        context = ssl.create_default_context(cafile=str(self._tls / "ca.pem"))
        return http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_SECONDS, context=context)

    def pass_on(self, exchange: Exchange) -> None:
        self.before(exchange)
        if not exchange.status:
            headers = {k: v for k, v in exchange.headers.items() if k.lower() != "host"}
            with contextlib.closing(self._connect()) as connection:
                connection.request(
                    exchange.method, exchange.path, body=exchange.request or None, headers=headers
                )
                answer = connection.getresponse()
                exchange.status, exchange.answer = answer.status, answer.read()
                exchange.answer_headers = dict(answer.getheaders())
        self.after(exchange)
        self.seen.append(exchange)

    @contextlib.contextmanager
    def attacked(self, *, before: Attack = _nothing, after: Attack = _nothing) -> Iterator[Relay]:
        """Attack for the time of a block."""
        self.before, self.after = before, after
        self.seen.clear()
        try:
            yield self
        finally:
            self.before = self.after = _nothing

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
