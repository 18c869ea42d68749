"""An owner's server in this process, whose clocks the test sets."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import httpx2 as httpx
import pyarrow as pa
from starlette.testclient import TestClient

from clf_sdk import Policy
from clf_sdk.protocol import Profile
from clf_server import _state
from clf_server._app import create_app, create_data_app
from clf_server._provision import create_server
from clf_server._state import ServerState, load_state


@dataclass
class Clock:
    """A clock that stands still until a test moves it."""

    now: float

    def __call__(self) -> float:
        return self.now


def arrow_stream(table: pa.Table, *, rows_per_batch: int | None = None, **options: Any) -> bytes:
    """Return a table as an Arrow IPC stream; the options are those of IpcWriteOptions."""
    sink = io.BytesIO()
    chosen = pa.ipc.IpcWriteOptions(**options)
    with pa.ipc.new_stream(sink, table.schema, options=chosen) as writer:
        writer.write_table(table, max_chunksize=rows_per_batch)
    return sink.getvalue()


class LocalServer:
    """The server of one directory; `restart` is what a new process would be."""

    def __init__(
        self, directory: Path, *, anchor: Path | None, now: float, blob_port: int | None = 4480
    ) -> None:
        self.directory = directory
        self.clock = Clock(now)
        self.monotonic = Clock(1000.0)
        create_server(directory, name="clinic", blob_port=blob_port, insecure_simulation=anchor)
        self.state: ServerState
        self.restart()

    def restart(self) -> None:
        # A process's lock ends with it; this process goes on, so it must not take it twice.
        with mock.patch.object(_state, "_lock"):
            self.state = load_state(self.directory, clock=self.clock, monotonic=self.monotonic)
        self.app = create_app(self.state)
        self.control = TestClient(self.app, base_url="https://localhost")
        self.data = TestClient(create_data_app(self.state), base_url="http://localhost")

    def close(self) -> None:
        self.state.metadata.close()

    @property
    def server_id(self) -> str:
        return self.state.server_id

    def profile(self, role: str) -> Profile:
        return Profile.load(self.directory / f"{role}.profile.json")

    def bearer(self, role: str = "owner") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.profile(role).token}"}

    def announce(self, table: str, policy: Policy) -> str:
        body = {"table": table, "policy": policy.to_json()}
        answer = self.control.post("/v1/uploads", json=body, headers=self.bearer())
        assert answer.status_code == 200, answer.text
        return str(answer.json()["upload"])

    def put(self, upload: str, data: bytes) -> httpx.Response:
        answer: httpx.Response = self.control.put(
            f"/v1/uploads/{upload}", content=data, headers=self.bearer()
        )
        return answer

    def upload(self, table: str, data: pa.Table | bytes, policy: Policy) -> dict[str, Any]:
        body = data if isinstance(data, bytes) else arrow_stream(data)
        answer = self.put(self.announce(table, policy), body)
        assert answer.status_code == 200, answer.text
        described: dict[str, Any] = answer.json()
        return described

    def tables(self) -> list[str]:
        answer = self.control.get("/v1/tables", headers=self.bearer())
        return [entry["name"] for entry in answer.json()["tables"]]

    def stored(self) -> set[str]:
        """Return the version ids that lie in the object store."""
        return {path.name for path in (self.directory / "objects").iterdir()}
