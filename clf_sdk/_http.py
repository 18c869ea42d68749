"""HTTP for people: one server, its certificate authority, a token, and errors as CLF's own."""

from __future__ import annotations

import contextlib
import os
import tempfile
import weakref
from collections.abc import Iterator
from typing import Any, TypeVar

import requests

from clf_sdk.errors import DeadlineExceeded, TransportError
from clf_sdk.protocol import Document, Profile, error_from_problem, parse_json

_TIMEOUT_SECONDS = (10.0, 120.0)
_DocumentT = TypeVar("_DocumentT", bound=Document)


class HttpClient:
    """Requests to the control listener of one server.

    Parameters
    ----------
    profile
        Address, certificate authority and token.
    """

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._session = requests.Session()
        self._session.trust_env = False  # neither proxies nor .netrc may see the token
        self._session.headers["Authorization"] = f"Bearer {profile.token}"
        # requests takes a certificate authority as a file only.
        descriptor, path = tempfile.mkstemp(prefix="clf-ca-", suffix=".pem")
        with os.fdopen(descriptor, "w") as file:
            file.write(profile.ca)
        self._session.verify = path
        self._cleanup = weakref.finalize(self, _close, self._session, path)

    def close(self) -> None:
        """Close all connections."""
        self._cleanup()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        where = f"the server {self._profile.name!r} at {self._profile.url}"
        try:
            yield
        except requests.exceptions.SSLError as error:
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
        with self._explained():
            response = self._session.request(
                method, self._profile.url + path, timeout=_TIMEOUT_SECONDS, **options
            )
            body = response.content
        if not response.ok:
            raise error_from_problem(response.status_code, body)
        return body

    def ask(self, kind: type[_DocumentT], method: str, path: str, **options: Any) -> _DocumentT:
        """Send a request whose answer is a document."""
        return kind.parse(parse_json(self.send(method, path, **options), what="server's answer"))


def _close(session: requests.Session, path: str) -> None:
    session.close()
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108 - pathlib may be gone when the interpreter ends
