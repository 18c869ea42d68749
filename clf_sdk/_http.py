"""HTTP for people: one server, its certificate authority, a token, and errors as CLF's own."""

from __future__ import annotations

import contextlib
import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import requests
import urllib3
from urllib3.util.ssl_ import create_urllib3_context

from clf_sdk.errors import (
    DeadlineExceeded,
    ServerError,
    ServerIdentityMismatch,
    TransportError,
)
from clf_sdk.protocol import Document, Profile, error_from_problem, parse_json
from clf_sdk.tls import with_closing_sockets

_TIMEOUT_SECONDS = (10.0, 120.0)
_MOST_ANSWER_BYTES = 1 << 30
_PIECE_BYTES = 1 << 20
_DocumentT = TypeVar("_DocumentT", bound=Document)


class _HttpsConnection(urllib3.connection.HTTPSConnection):
    def connect(self) -> None:
        # A context of its own for each connection, as urllib3 makes it: authorities change.
        self.ssl_context = with_closing_sockets(create_urllib3_context())
        super().connect()


class _HttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection


class _Adapter(requests.adapters.HTTPAdapter):
    """Leaves no socket open when a server dies while a client connects."""

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = {
            **self.poolmanager.pool_classes_by_scheme,
            "https": _HttpsPool,
        }


class _PinnedAdapter(_Adapter):
    """Connects only where exactly one certificate is shown, beside what TLS checks of it."""

    def __init__(self, certificate: str) -> None:
        self._certificate = certificate
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, assert_fingerprint=self._certificate, **options)


class HttpClient:
    """Requests to the control listener of one server.

    Parameters
    ----------
    profile
        Address, certificate authority and token.
    """

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._pinned: str | None = None
        self._session = requests.Session()
        self._session.trust_env = False  # neither proxies nor .netrc may see the token
        self._session.headers["Authorization"] = f"Bearer {profile.token}"
        # requests takes a certificate authority as a file only.
        descriptor, path = tempfile.mkstemp(prefix="clf-ca-", suffix=".pem")
        with os.fdopen(descriptor, "w") as file:
            file.write(profile.ca)
        self._session.verify = path
        self._ca_path = path
        self._bulk = requests.Session()  # for ciphertext: no token goes along
        self._bulk.trust_env = False
        self._bulk.verify = path
        self._strange = requests.Session()  # for the time before the server has proved itself
        self._strange.trust_env = False
        self._strange.verify = path
        sessions = (self._session, self._bulk, self._strange)
        for session in sessions:
            session.mount("https://", _Adapter())
        self._cleanup = weakref.finalize(self, _close, sessions, path)

    def close(self) -> None:
        """Close all connections."""
        self._cleanup()

    def pin(self, certificate: str) -> None:
        """Show the token, and send data, only where the server shows exactly this certificate.

        Parameters
        ----------
        certificate
            SHA-256 of the certificate in DER, in hex.
        """
        if certificate != self._pinned:
            for session in (self._session, self._bulk):
                _close_pools(session)
                session.mount("https://", _PinnedAdapter(certificate))
            self._pinned = certificate

    def trust(self, ca: str) -> None:
        """Trust other certificate authorities from the next connection on."""
        Path(self._ca_path).write_text(ca, "ascii")

    def ask_a_stranger(self, kind: type[_DocumentT], path: str, **options: Any) -> _DocumentT:
        """Get a document without showing the token, whatever is pinned."""
        url = self._profile.url + path
        body = self._finish(self._strange, "GET", url, **options)
        return kind.parse(parse_json(body, what="server's answer"))

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        where = f"the server {self._profile.name!r} at {self._profile.url}"
        try:
            yield
        except requests.exceptions.SSLError as error:
            if self._pinned is not None and "ingerprint" in str(error):
                raise ServerIdentityMismatch(
                    f"{where} shows another certificate than the one that it proved",
                    hint="connect again, so that it proves itself anew; if that fails, another "
                    "server answers there",
                ) from error
            raise TransportError(
                f"{where} does not show a certificate of the profile's authority",
                hint="another server answers there, or this machine's clock is wrong; "
                "ask the operator for the current profile",
            ) from error
        except requests.exceptions.Timeout as error:
            raise DeadlineExceeded(f"{where} did not answer in time") from error
        except requests.exceptions.RequestException as error:
            raise TransportError(
                f"the connection to {where} failed or broke off",
                hint="is the server running, and is the address in the profile right?",
            ) from error

    def send(self, method: str, path: str, **options: Any) -> bytes:
        """Send a request, and return the body of its answer.

        Raises
        ------
        ClfError
            What the server refuses with.
        TransportError
            The server can't be reached.
        """
        return self._finish(self._session, method, self._profile.url + path, **options)

    def put_object(self, path: str, data: memoryview, *, url: str | None, ticket: str) -> None:
        """Put ciphertext; several threads may do so at once.

        Parameters
        ----------
        path, data
            What goes where.
        url
            Address of the listener for ciphertext; None for the control listener.
        ticket
            The ticket that opens the path.

        Raises
        ------
        ClfError
            What the server refuses with.
        TransportError
            The server can't be reached.
        """
        headers = {
            "Authorization": f"CLF-Ticket {ticket}",
            "Content-Type": "application/octet-stream",
        }
        where = (url or self._profile.url) + path
        self._finish(self._bulk, "PUT", where, data=data, headers=headers)

    def _finish(self, session: requests.Session, method: str, url: str, **options: Any) -> bytes:
        with self._explained():
            response = session.request(
                method, url, timeout=_TIMEOUT_SECONDS, allow_redirects=False, stream=True, **options
            )
            body = _whole(response, most_bytes=_MOST_ANSWER_BYTES)
        if not response.ok or response.is_redirect:
            raise error_from_problem(response.status_code, body)
        return body

    def ask(self, kind: type[_DocumentT], method: str, path: str, **options: Any) -> _DocumentT:
        """Send a request whose answer is a document."""
        return kind.parse(parse_json(self.send(method, path, **options), what="server's answer"))


def _whole(response: requests.Response, *, most_bytes: int) -> bytes:
    """Read an answer, which a server that lies may never end."""
    pieces, left = [], most_bytes
    with response:
        for piece in response.iter_content(_PIECE_BYTES):
            left -= len(piece)
            if left < 0:
                raise ServerError(
                    "the server's answer is larger than any honest one",
                    hint="ask its operator what answers there",
                )
            pieces.append(piece)
    return b"".join(pieces)


def _close(sessions: Iterable[requests.Session], path: str) -> None:
    for session in sessions:
        _close_pools(session)
        session.close()
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108 - pathlib may be gone when the interpreter ends


def _close_pools(session: requests.Session) -> None:
    # requests only forgets its pools, and an error's traceback can keep them alive.
    for adapter in session.adapters.values():
        if isinstance(adapter, requests.adapters.HTTPAdapter):
            pools = adapter.poolmanager.pools
            for key in pools.keys():  # noqa: SIM118 - it refuses to be iterated
                pools[key].close()
