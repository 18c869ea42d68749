from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pytest
import uvicorn

from clf_sdk._server_process import ServerProcess
from clf_server._certificate_files import make_certificates
from clf_server._middleware import Receive, Scope, Send
from clf_server._prompt_close import _FAREWELL_SECONDS, PromptCloseProtocol


def _connect(server: ServerProcess) -> http.client.HTTPSConnection:
    parts = urlsplit(server.owner.url)
    context = ssl.create_default_context(cadata=server.owner.ca)
    return http.client.HTTPSConnection(parts.hostname or "", parts.port, context=context)


def test_idle_client_does_not_hold_up_a_stop(make_server: Callable[..., ServerProcess]) -> None:
    server = make_server("idle")
    kept = [_connect(server) for _ in range(3)]
    for each in kept:
        each.request("GET", "/healthz")
        assert each.getresponse().read()
    server.stop()
    assert "graceful shutdown exceeded" not in server.log.read_text()
    for each in kept:
        each.request("GET", "/healthz")
        with pytest.raises(http.client.RemoteDisconnected):
            each.getresponse()
        each.close()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_slow_client_reads_its_whole_answer(
    tmp_path: Path, loop: Literal["asyncio", "uvloop"]
) -> None:
    size = 16 << 20
    make_certificates(tmp_path, name="clinic", hosts=["127.0.0.1"])

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(size)})

    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            http=PromptCloseProtocol,
            loop=loop,
            ws="none",
            log_config=None,
            lifespan="off",
            ssl_certfile=tmp_path / "server.pem",
            ssl_keyfile=tmp_path / "server.key",
        )
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    port = listener.getsockname()[1]
    with contextlib.closing(
        http.client.HTTPSConnection("127.0.0.1", port, context=context)
    ) as client:
        try:
            client.request("GET", "/", headers={"Connection": "close"})
            answer = client.getresponse()
            time.sleep(4 * _FAREWELL_SECONDS)
            assert len(answer.read()) == size
        finally:
            server.should_exit = True
            thread.join()
