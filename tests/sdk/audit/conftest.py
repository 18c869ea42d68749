from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from clf_sdk._http import HttpClient
from clf_sdk.audit import RemoteLog
from clf_sdk.protocol import Document, error_from_problem, parse_json
from clf_testing import LocalServer


class LocalHttp:
    """Speaks to a server in this process as the SDK does to one far away."""

    def __init__(self, local: LocalServer) -> None:
        self.local = local

    def send(self, method: str, path: str, **options: Any) -> bytes:
        answer = self.local.control.request(method, path, headers=self.local.bearer(), **options)
        if not answer.is_success:
            raise error_from_problem(answer.status_code, answer.content)
        return bytes(answer.content)

    def ask(self, kind: type[Document], method: str, path: str, **options: Any) -> Document:
        return kind.parse(parse_json(self.send(method, path, **options), what="answer"))


@pytest.fixture(autouse=True)
def _nothing_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def log(local: LocalServer) -> RemoteLog:
    """Return the owner's view of the log of the server in this process."""
    return RemoteLog(cast("HttpClient", LocalHttp(local)), local.server_id)


@pytest.fixture
def filled(local: LocalServer) -> LocalServer:
    """Return the server, with eleven entries in its log."""
    for number in range(11):
        local.state.audit.append("table.shared", {"n": number, "table": "ä"})
    return local
