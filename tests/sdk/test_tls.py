"""Clients of a server that dies between connect and handshake."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import ssl
import struct
import threading
from collections.abc import Iterator

import pytest

import clf_sdk as clf
from clf_enclave._transport import Channel
from clf_sdk.errors import TransportError
from clf_sdk.protocol import Profile
from clf_sdk.tls import with_closing_sockets
from clf_testing import LocalServer

_RESET = struct.pack("ii", 1, 0)


@pytest.fixture
def dying() -> Iterator[str]:
    """Return the address of what resets each connection at once, as a killed server's host does."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted, _ = listener.accept()
                accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                accepted.close()

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"https://127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def _reset_connection() -> socket.socket:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connected = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        accepted.close()
    return connected


def test_socket_whose_peer_is_gone_before_the_handshake_is_closed() -> None:
    context = with_closing_sockets(ssl.create_default_context())
    connected = _reset_connection()
    descriptor = connected.fileno()
    with pytest.raises(ConnectionResetError):
        context.wrap_socket(connected, server_hostname="x")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_clients_leave_no_socket_open(dying: str, local: LocalServer) -> None:
    profile = Profile.load(local.directory / "owner.profile.json")
    gone = profile.model_copy(update={"url": dying})
    for _ in range(50):
        with pytest.raises(TransportError):
            clf.connect(gone)
        channel = Channel(dying, ca=profile.ca)
        with pytest.raises(TransportError):
            channel.post_json("/v1/challenges", b"{}")
    gc.collect()  # warnings are errors
