"""Connections of the enclave to a server: JSON over HTTPS, ciphertext into a reused buffer.

``http.client`` is used as it is: it can read a body straight into a buffer, and it keeps the code
that is measured small.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from functools import lru_cache
from http import HTTPStatus
from types import MappingProxyType, TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from clf_sdk.errors import DeadlineExceeded, InvalidInput, ServerError, TransportError
from clf_sdk.protocol import Endpoint, error_from_problem, parse_json
from clf_sdk.tls import with_closing_sockets

_TIMEOUT_SECONDS = 60.0
_MOST_ANSWER_BYTES = 64 << 20
_SMALL_BODY_BYTES = 64 << 10


@lru_cache(maxsize=64)
def _tls_context(ca: str) -> ssl.SSLContext:
    """Prepare for one certificate authority; every connection still makes a full handshake."""
    try:
        context = ssl.create_default_context(cadata=ca)
    except (ssl.SSLError, ValueError) as error:
        raise InvalidInput("the endpoint's certificate authority is not PEM") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return with_closing_sockets(context)


class _OneWrite:
    """Send a head and its small body together: the other side wakes up once."""

    _held: list[bytes | memoryview] | None = None

    def request(
        self,
        method: str,
        url: str,
        body: Any = None,
        headers: Mapping[str, Any] = MappingProxyType({}),
        *,
        encode_chunked: bool = False,
    ) -> None:
        if not body or len(body) > _SMALL_BODY_BYTES:
            super().request(method, url, body, headers, encode_chunked=encode_chunked)  # type: ignore[misc]
            return
        self._held = []
        try:
            super().request(method, url, body, headers, encode_chunked=encode_chunked)  # type: ignore[misc]
            whole = b"".join(self._held)
        finally:
            self._held = None
        self.send(whole)

    def send(self, data: Any) -> None:
        if self._held is None:
            super().send(data)  # type: ignore[misc]
        else:
            self._held.append(data)


class _HttpConnection(_OneWrite, http.client.HTTPConnection):
    pass


class _HttpsConnection(_OneWrite, http.client.HTTPSConnection):
    pass


class Channel:
    """One HTTP connection to one address.

    Parameters
    ----------
    url
        ``https://host:port`` or, for ciphertext only, ``http://host:port``.
    ca
        PEM of the certificate authority; None for plain HTTP.
    """

    def __init__(self, url: str, *, ca: str | None) -> None:
        parts = urlsplit(url)
        if parts.hostname is None or (parts.scheme, ca is None) not in {
            ("https", False),
            ("http", True),
        }:
            raise InvalidInput(f"{url[:200]!r} is not the address of a server")
        self._url = url
        self._connection: http.client.HTTPConnection
        if ca is None:
            self._connection = _HttpConnection(parts.hostname, parts.port, timeout=_TIMEOUT_SECONDS)
        else:
            self._connection = _HttpsConnection(
                parts.hostname, parts.port, timeout=_TIMEOUT_SECONDS, context=_tls_context(ca)
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _send(
        self, method: str, path: str, body: Any, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        try:
            self._connection.request(method, path, body=body, headers=headers)
            return self._connection.getresponse()
        except TimeoutError as error:
            raise DeadlineExceeded(f"{self._url} did not answer in time") from error
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise TransportError(
                f"the connection to {self._url} failed: {type(error).__name__}",
                hint="is the server running, and is the address right?",
            ) from error

    def _whole(self, response: http.client.HTTPResponse) -> bytes:
        try:
            data = response.read(_MOST_ANSWER_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise TransportError(f"the answer of {self._url} broke off") from error
        if len(data) > _MOST_ANSWER_BYTES:
            self._connection.close()
            raise ServerError(f"the answer of {self._url} is too large")
        return data

    def call(
        self, method: str, path: str, body: bytes | memoryview, headers: dict[str, str]
    ) -> Any:
        """Send a request and return the parsed JSON of its answer, or None if it is empty.

        Raises
        ------
        ClfError
            What the server refuses with.
        TransportError
            The connection failed.
        """
        response = self._send(method, path, body, headers)
        data = self._whole(response)
        if response.status >= HTTPStatus.BAD_REQUEST:
            raise error_from_problem(response.status, data)
        return parse_json(data, what="server's answer") if data else None

    def get_bytes(self, path: str, headers: dict[str, str], *, most_bytes: int) -> bytes:
        """Return the body of an answer that is no JSON.

        Raises
        ------
        ClfError
            What the server refuses with.
        TransportError
            The connection failed.
        """
        response = self._send("GET", path, None, headers)
        if response.status >= HTTPStatus.BAD_REQUEST:
            raise error_from_problem(response.status, self._whole(response))
        if response.length is None or response.length > most_bytes:
            self._connection.close()
            raise ServerError(f"the answer of {self._url} is too large")
        buffer = memoryview(bytearray(response.length))
        self.read_into(response, buffer)
        return bytes(buffer)

    def post_json(self, path: str, body: bytes) -> Any:
        """POST JSON and return the parsed answer."""
        return self.call("POST", path, body, {"Content-Type": "application/json"})

    def open_range(self, path: str, ticket: str, start: int, stop: int) -> http.client.HTTPResponse:
        """Ask for the bytes from ``start`` to ``stop`` of a blob.

        Raises
        ------
        TicketRefused
            The ticket has expired.
        SealBroken, TransportError
            The server does not deliver these bytes.
        """
        headers = {"Authorization": f"CLF-Ticket {ticket}", "Range": f"bytes={start}-{stop - 1}"}
        response = self._send("GET", path, None, headers)
        if response.status >= HTTPStatus.BAD_REQUEST:
            raise error_from_problem(response.status, self._whole(response))
        if response.status != HTTPStatus.PARTIAL_CONTENT or response.length != stop - start:
            self._connection.close()
            raise TransportError(f"{self._url} did not deliver the range that was asked for")
        return response

    def read_into(self, response: http.client.HTTPResponse, target: memoryview) -> None:
        """Fill a buffer from the body of an answer.

        Raises
        ------
        TransportError
            The connection broke off.
        """
        filled = 0
        try:
            while filled < len(target):
                count = response.readinto(target[filled:])
                if not count:
                    break
                filled += count
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise TransportError(f"the connection to {self._url} broke off") from error
        if filled < len(target):
            self._connection.close()
            raise TransportError(
                f"the connection to {self._url} broke off", hint="the server stopped; run again"
            )


def control_channel(endpoint: Endpoint) -> Channel:
    """Connect to the control listener of a server."""
    return Channel(endpoint.url, ca=endpoint.ca)
