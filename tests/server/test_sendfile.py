from __future__ import annotations

import http.client
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from uvicorn.server import Server

from clf_server._middleware import Receive, Scope, Send
from clf_server._sendfile import EXTENSION, SendfileProtocol

_SIZE = 9 << 20  # more than a socket takes at once


class _FileResponse(Response):
    def __init__(self, path: Path, offset: int, count: int, promised: int) -> None:
        super().__init__()
        self._path, self._offset, self._count = path, offset, count
        self.headers["content-length"] = str(promised)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        head = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(head)
        assert EXTENSION in scope["extensions"]
        with self._path.open("rb") as file:
            span = {"file": file, "offset": self._offset, "count": self._count}
            await send({"type": EXTENSION, **span, "more_body": False})


@pytest.fixture(scope="module")
def content() -> bytes:
    return os.urandom(_SIZE)


@pytest.fixture(scope="module")
def port(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Port of a server that sends ``/{offset}/{count}`` of a file that ends too early."""
    path = tmp_path_factory.mktemp("sendfile") / "file"
    path.write_bytes(content)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if request.url.path == "/text":
            await PlainTextResponse("plain")(scope, receive, send)
            return
        offset, count = (int(part) for part in request.url.path[1:].split("/"))
        await _FileResponse(path, offset, count, count)(scope, receive, send)

    config = uvicorn.Config(
        app, http=SendfileProtocol, loop="uvloop", lifespan="off", log_config=None
    )
    server = Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join()


def _get(connection: http.client.HTTPConnection, path: str) -> bytes:
    connection.request("GET", path)
    return connection.getresponse().read()


def test_spans_follow_each_other_on_one_connection(port: int, content: bytes) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    for offset, count in ((0, _SIZE), (5, 1), (1 << 20, 3 << 20), (_SIZE - 1, 1), (7, 0)):
        assert _get(connection, f"/{offset}/{count}") == content[offset : offset + count]
        assert _get(connection, "/text") == b"plain"
    connection.close()


def test_requests_that_were_sent_together_are_answered_in_order(port: int, content: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        asked = f"GET /0/{_SIZE} HTTP/1.1\r\nHost: x\r\n\r\nGET /text HTTP/1.1\r\nHost: x\r\n\r\n"
        last = "GET /3/4 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        connection.sendall((asked + last).encode())
        received = b"".join(iter(lambda: connection.recv(1 << 20), b""))
    assert received.index(content) < received.index(b"\r\n\r\nplain")
    assert received.endswith(b"\r\n\r\n" + content[3:7])


def test_reader_that_goes_away_or_dawdles_disturbs_nobody(port: int, content: bytes) -> None:
    slow = socket.create_connection(("127.0.0.1", port), timeout=20)
    slow.sendall(f"GET /0/{_SIZE} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as gone:
            gone.sendall(f"GET /0/{_SIZE} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            gone.recv(1000)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    assert _get(connection, f"/0/{_SIZE}") == content
    connection.close()
    answer = http.client.HTTPResponse(slow)
    answer.begin()
    assert answer.read() == content
    answer.close()
    slow.close()


def test_file_that_is_too_short_ends_the_connection(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", f"/{_SIZE - 10}/11")
    with (
        connection.getresponse() as answer,
        pytest.raises((http.client.IncompleteRead, ConnectionError)),
    ):
        answer.read()
    connection.close()
