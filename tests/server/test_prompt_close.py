from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
import uvicorn

from clf_sdk._server_process import ServerProcess
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


def test_slow_client_reads_its_whole_answer() -> None:
    size = 16 << 20

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(size)})

    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(app, http=PromptCloseProtocol, ws="none", log_config=None, lifespan="off")
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        client = http.client.HTTPConnection("127.0.0.1", listener.getsockname()[1])
        client.request("GET", "/", headers={"Connection": "close"})
        answer = client.getresponse()
        time.sleep(4 * _FAREWELL_SECONDS)
        assert len(answer.read()) == size
        client.close()
    finally:
        server.should_exit = True
        thread.join()
