"""An enclave app that is running already and takes jobs over HTTP."""

from __future__ import annotations

from typing import Any

import requests

from clf_sdk.errors import Malformed, TransportError
from clf_sdk.protocol import RunRequest, error_from_problem, parse_json

_TIMEOUT_SECONDS = 30.0


class EnclaveService:
    """One run in an enclave that serves (``clf enclave serve``).

    The connection needs no trust: job and addresses are no secrets from the enclave's host, and
    owners let only the attested program near their data, whoever sent the job.

    Parameters
    ----------
    url
        Address of the enclave.
    request
        What to run.
    """

    def __init__(self, url: str, request: RunRequest) -> None:
        self._url = url.rstrip("/")
        self._run = request.run
        self._session = requests.Session()
        self._session.trust_env = False
        self._call("POST", "/v1/runs", request.canonical())

    def __repr__(self) -> str:
        return f"EnclaveService({self._url})"

    def _call(self, method: str, path: str, data: bytes | None = None) -> Any:
        try:
            response = self._session.request(
                method,
                self._url + path,
                data=data,
                headers={"Content-Type": "application/json"},
                timeout=_TIMEOUT_SECONDS,
            )
            body = response.content
        except requests.exceptions.RequestException as error:
            raise TransportError(
                f"the enclave at {self._url} can't be reached",
                hint="is `clf enclave serve` running there?",
            ) from error
        if not response.ok:
            raise error_from_problem(response.status_code, body)
        return parse_json(body, what="enclave's answer")

    def events(self) -> list[dict[str, Any]]:
        """Everything the enclave has reported on the run so far, oldest first."""
        answer = self._call("GET", f"/v1/runs/{self._run}")
        events = answer.get("events") if isinstance(answer, dict) else None
        if not isinstance(events, list) or not all(
            isinstance(event, dict) and isinstance(event.get("event"), str) for event in events
        ):
            raise Malformed("the enclave's answer is not a list of events")
        return events

    def ended(self) -> str | None:
        """Return None: a service goes on."""
        return None
