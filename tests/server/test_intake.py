"""Bodies that go from the socket straight to who stores them, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from uvicorn.server import Server

from clf_sdk.errors import ClfError, StorageFull
from clf_server import _intake
from clf_server._intake import INTAKE, DirectBody, IntakeProtocol
from clf_server._middleware import Receive, Scope, Send

_SIZE = 9 << 20  # more than a socket takes at once


class _Application:
    """Notes what arrives at ``/take``, by which way, and how it ended."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.ends: list[str] = []
        self.begun = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, status, text = scope["path"], 200, "taken"
        try:
            if path == "/refuse":
                status, text = 403, "refused"
            elif path == "/fail":
                await self._take(scope, receive, fail=True)
            elif path == "/slow":
                await asyncio.sleep(0.3)
            elif path == "/take":
                text = await self._take(scope, receive, fail=False)
        except StorageFull:
            status, text = 507, "full"
        except (ClientDisconnect, ClfError) as error:
            self.ends.append(type(error).__name__)
            status, text = 400, "ended"
        await PlainTextResponse(text, status)(scope, receive, send)

    async def _take(self, scope: Scope, receive: Receive, *, fail: bool) -> str:
        pieces: list[bytes] = []

        def write(parts: Iterable[Any]) -> None:
            self.begun.set()
            if fail:
                raise StorageFull("no space")
            pieces.extend(bytes(part) for part in parts)

        body = scope["extensions"].get(INTAKE)
        if body is None:
            pieces.append(await Request(scope, receive).body())
        else:
            assert isinstance(body, DirectBody)
            await body.into(write)
            assert sum(map(len, pieces)) == body.size
        self.bodies.append(b"".join(pieces))
        return "through the loop" if body is None else "directly"


class _Running:
    def __init__(self, loop: str) -> None:
        self.app = _Application()
        self.server = Server(
            uvicorn.Config(
                self.app,
                http=IntakeProtocol,
                loop=loop,
                lifespan="off",
                log_config=None,
                timeout_graceful_shutdown=1,
            )
        )
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.server.run, args=([self.listener],))
        self.thread.start()

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join()
        self.listener.close()

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def open(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)


@pytest.fixture(params=["uvloop", "asyncio"])
def running(request: pytest.FixtureRequest) -> Iterator[_Running]:
    started = _Running(request.param)
    yield started
    started.stop()


@pytest.fixture(scope="module")
def content() -> bytes:
    return os.urandom(_SIZE)


def _put(connection: http.client.HTTPConnection, path: str, body: Any) -> tuple[int, str]:
    connection.request("PUT", path, body=body)
    response = connection.getresponse()
    return response.status, response.read().decode()


def _head(path: str, size: int, *more: str) -> bytes:
    lines = [f"PUT {path} HTTP/1.1", "Host: x", f"Content-Length: {size}", *more, "", ""]
    return "\r\n".join(lines).encode()


def test_bodies_follow_each_other_on_one_connection(running: _Running, content: bytes) -> None:
    with contextlib.closing(running.connect()) as connection:
        for size in (_SIZE, 256 << 10, _SIZE - 1):
            assert _put(connection, "/take", content[:size]) == (200, "directly")
            assert running.app.bodies.pop() == content[:size]
            assert _put(connection, "/take", content[:1000]) == (200, "through the loop")
            assert running.app.bodies.pop() == content[:1000]


def test_what_has_no_length_or_asks_first_goes_through_the_loop(
    running: _Running, content: bytes
) -> None:
    with contextlib.closing(running.connect()) as connection:
        chunked = (content[start : start + (1 << 20)] for start in range(0, _SIZE, 1 << 20))
        assert _put(connection, "/take", chunked) == (200, "through the loop")
    with running.open() as sock:
        sock.sendall(_head("/take", _SIZE, "Expect: 100-continue", "Connection: close"))
        assert sock.recv(1000).startswith(b"HTTP/1.1 100 ")
        sock.sendall(content)
        assert b"through the loop" in b"".join(iter(lambda: sock.recv(1 << 16), b""))
    assert running.app.bodies == [content, content]


def test_requests_that_were_sent_together_are_answered_in_order(
    running: _Running, content: bytes
) -> None:
    get = b"GET /other HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /other HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    put = _head("/take", _SIZE) + content
    with running.open() as sock:
        sender = threading.Thread(target=sock.sendall, args=(get + put + put + get + last,))
        sender.start()
        received = b"".join(iter(lambda: sock.recv(1 << 16), b""))
        sender.join()
    ends = [part.rpartition(b"\r\n\r\n")[2] for part in received.split(b"HTTP/1.1 200 OK")[1:]]
    assert ends == [b"taken", b"directly", b"directly", b"taken", b"taken"]
    assert running.app.bodies == [content, content]


def test_a_body_is_no_request(running: _Running) -> None:
    """What a body holds is never read as the next request on its connection."""
    hidden = b"GET /refuse HTTP/1.1\r\nHost: x\r\n\r\n"
    body = hidden * ((1 << 20) // len(hidden))
    with contextlib.closing(running.connect()) as connection:
        for path, status in (("/take", 200), ("/fail", 507), ("/refuse", 403), ("/take", 200)):
            assert _put(connection, path, body)[0] == status
        connection.request("GET", "/other")
        assert connection.getresponse().read() == b"taken"


@pytest.mark.parametrize("path", ["/take", "/refuse"])
def test_a_request_that_asks_for_another_protocol_is_refused_whole(
    running: _Running, path: str
) -> None:
    """The parser passes over its body, which would be read as requests, or beyond its end."""
    hidden = b"GET /refuse HTTP/1.1\r\nHost: x\r\n\r\n" * 20_000
    for protocol in ("h2c", "websocket"):
        upgrade = ("Connection: upgrade", f"Upgrade: {protocol}")
        head = _head(path, len(hidden), *upgrade)
        with running.open() as sock:
            with contextlib.suppress(OSError):
                sock.sendall(head + hidden)
            received = b""
            with contextlib.suppress(OSError):
                received = b"".join(iter(lambda: sock.recv(1 << 16), b""))
        assert received.count(b"HTTP/1.1 ") <= 1
        assert b" 200 " not in received
        assert b"refused" not in received
    assert running.app.bodies == []


@pytest.mark.parametrize("cut", [0, 13, 26])
def test_what_comes_with_the_end_of_a_body_belongs_to_the_next_request(
    running: _Running, content: bytes, cut: int
) -> None:
    """A body that waits behind another request arrives as a whole, and part of a head with it."""
    body = content[: 256 << 10]
    following = b"GET /other HTTP/1.1\r\nX-Note: GET /refuse HTTP/1.1\r\nHost: x\r\n\r\n"
    with running.open() as sock:
        sock.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n" + _head("/take", len(body)))
        time.sleep(0.1)
        sock.sendall(body + following[:cut])
        time.sleep(0.5)
        sock.sendall(following[cut:])
        sock.sendall(b"GET /other HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received = b"".join(iter(lambda: sock.recv(1 << 16), b""))
    assert received.count(b"HTTP/1.1 200 OK") == 4
    assert b"refused" not in received
    assert running.app.bodies == [body]


def test_data_behind_the_last_request_does_not_spoil_its_answer(
    running: _Running, content: bytes
) -> None:
    last = b"GET /other HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with running.open() as sock:
        sock.sendall(_head("/take", _SIZE) + content)
        received = b""
        while not received.endswith(b"directly"):
            received += sock.recv(1 << 16)
        sock.sendall(last + last)
        with contextlib.suppress(OSError):
            assert sock.recv(1 << 16).startswith(b"HTTP/1.1 200 ")


def test_slow_senders_leave_the_loop_to_others(
    running: _Running, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_intake, "MOST_THREADS", 2)
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            slow = stack.enter_context(running.open())
            running.app.begun.clear()
            slow.sendall(_head("/take", _SIZE) + content[: 1 << 20])
            assert running.app.begun.wait(20)
        with contextlib.closing(running.connect()) as connection:
            assert _put(connection, "/take", content) == (200, "through the loop")


def test_a_failure_of_the_program_ends_the_connection(
    running: _Running, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left of the body is not read as the next request."""

    def fail(_: Any) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(StorageFull, "__init__", fail)
    with contextlib.closing(running.connect()) as connection, contextlib.suppress(OSError):
        connection.request("PUT", "/fail", body=content)
        response = connection.getresponse()
        assert response.status == 500
        assert response.getheader("connection") == "close"
    assert running.app.bodies == []


def test_a_refusal_or_a_full_disk_reaches_who_still_sends(
    running: _Running, content: bytes
) -> None:
    with contextlib.closing(running.connect()) as connection:
        for path, answer in (("/refuse", (403, "refused")), ("/fail", (507, "full"))):
            assert _put(connection, path, content) == answer
            assert _put(connection, "/take", content) == (200, "directly")
    assert running.app.bodies == [content, content]


def test_a_sender_that_goes_away_disturbs_nobody(running: _Running, content: bytes) -> None:
    for sent in (0, 1, 1 << 20, _SIZE - 1):
        with running.open() as sock:
            sock.sendall(_head("/take", _SIZE) + content[:sent])
    with contextlib.closing(running.connect()) as connection:
        assert _put(connection, "/take", content) == (200, "directly")
    deadline = time.monotonic() + 20
    while len(running.app.ends) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert running.app.ends == ["ClientDisconnect"] * 4


def test_a_sender_that_stops_is_given_up(
    running: _Running, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_intake, "STALL_SECONDS", 0.3)
    with running.open() as sock:
        sock.sendall(_head("/take", _SIZE) + content[: 1 << 20])
        received = b"".join(iter(lambda: sock.recv(1 << 16), b""))
    assert received.startswith(b"HTTP/1.1 400 ")
    assert running.app.ends == ["DeadlineExceeded"]


def test_a_sender_that_drips_is_given_up(
    running: _Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some bytes now and then are no progress."""
    monkeypatch.setattr(_intake, "STALL_SECONDS", 0.5)
    with running.open() as sock:
        sock.sendall(_head("/take", _SIZE))
        began = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - began < 20 and not running.app.ends:
                sock.sendall(b"x")
                time.sleep(0.02)
    assert running.app.ends == ["DeadlineExceeded"]


def test_a_stop_does_not_wait_for_a_sender_that_stopped(content: bytes) -> None:
    started = _Running("uvloop")
    with started.open() as sock:
        sock.sendall(_head("/take", _SIZE) + content[: 1 << 20])
        assert started.app.begun.wait(20)
        began = time.monotonic()
        started.stop()
        assert time.monotonic() - began < 15


def test_many_senders_at_once(running: _Running, content: bytes) -> None:
    failed: list[BaseException] = []

    def send() -> None:
        try:
            with contextlib.closing(running.connect()) as connection:
                for _ in range(3):
                    assert _put(connection, "/take", content) == (200, "directly")
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            failed.append(error)

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert running.app.bodies == [content] * 24
