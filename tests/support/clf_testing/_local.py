"""An owner's server in this process, whose clocks the test sets."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from unittest import mock

import httpx2 as httpx
import pyarrow as pa
from starlette.testclient import TestClient

from clf_sdk import Identity, Policy
from clf_sdk.protocol import AuditEntry, JobDocument, Profile, UploadTicket, parse_json
from clf_sdk.sealed import TableSealer, as_record_batches
from clf_server import _state
from clf_server._app import create_apps
from clf_server._provision import create_server
from clf_server._state import METADATA_NAME, ServerState, load_state
from clf_testing._jobs import signed
from clf_testing._people import admit, the_analyst


@dataclass
class Clock:
    """A clock that stands still until a test moves it."""

    now: float

    def __call__(self) -> float:
        return self.now


@dataclass
class SealedUpload:
    """A table as it is put: sealed under an upload's key, nothing sent yet."""

    ticket: UploadTicket
    objects: dict[str, bytes]
    version: str

    @classmethod
    def of(
        cls, ticket: UploadTicket, name: str, table: pa.Table, *, target_bytes: int = 32 << 20
    ) -> SealedUpload:
        batches = as_record_batches(table, target_bytes=target_bytes)
        sealer = TableSealer(
            table=name,
            schema=batches.schema,
            table_key=ticket.table_key,
            version_id=ticket.version_id,
        )
        objects = {str(n): bytes(sealer.seal(n, batch)) for n, batch in enumerate(batches)}
        sealed = sealer.finish()
        return cls(ticket, objects | {"manifest": sealed.sealed}, sealed.version)


class LocalServer:
    """The server of one directory; `restart` is what a new process would be."""

    def __init__(
        self, directory: Path, *, anchor: Path | None, now: float, blob_port: int | None = 4480
    ) -> None:
        self.directory = directory
        self.clock = Clock(now)
        self.monotonic = Clock(1000.0)
        self._agreed: set[str] = set()
        create_server(directory, name="clinic", blob_port=blob_port, insecure_simulation=anchor)
        self.admit(the_analyst(), label="analyst")
        self.state: ServerState
        self.restart()

    def restart(self) -> None:
        # A process's lock ends with it; this process goes on, so it must not take it twice.
        with mock.patch.object(_state, "_lock"):
            self.state = load_state(self.directory, clock=self.clock, monotonic=self.monotonic)
        self.app, data = create_apps(self.state)
        self.control = TestClient(self.app, base_url="https://localhost")
        self.data = TestClient(data, base_url="http://localhost")

    def close(self) -> None:
        self.state.metadata.close()

    @property
    def server_id(self) -> str:
        return self.state.server_id

    def admit(self, analyst: Identity, *, label: str) -> Profile:
        """Make an analyst known, with a token whose profile has the label's name."""
        return admit(self.directory, analyst.public, label=label)

    def audited(self) -> list[AuditEntry]:
        """Return the audit log as it lies in the database."""
        with contextlib.closing(sqlite3.connect(self.directory / METADATA_NAME)) as connection:
            rows = connection.execute('SELECT entry FROM audit_entries ORDER BY "index"')
            return [AuditEntry.parse(parse_json(entry, what="entry")) for (entry,) in rows]

    def profile(self, label: str) -> Profile:
        return Profile.load(self.directory / f"{label}.profile.json")

    def bearer(self, label: str = "owner") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.profile(label).token}"}

    def announce(self, table: str, policy: Policy, *, widen: bool = False) -> UploadTicket:
        body = {"table": table, "policy": policy.to_json(), "widen": widen}
        answer = self.control.post("/v1/uploads", json=body, headers=self.bearer())
        assert answer.status_code == 200, answer.text
        return UploadTicket.parse(answer.json())

    def seal(
        self, name: str, table: pa.Table, policy: Policy, *, widen: bool = False, **options: Any
    ) -> SealedUpload:
        ticket = self.announce(name, policy, widen=widen)
        return SealedUpload.of(ticket, name, table, **options)

    def put(
        self,
        ticket: UploadTicket,
        name: str,
        data: bytes | Iterable[bytes],
        *,
        secret: str | None = None,
    ) -> httpx.Response:
        client = self.control if ticket.url is None else self.data
        headers = {"Authorization": f"CLF-Ticket {secret or ticket.ticket}"}
        path = f"/v1/uploads/{ticket.upload}/{name}"
        answer: httpx.Response = client.put(path, content=data, headers=headers)
        return answer

    def put_all(self, sealed: SealedUpload) -> None:
        for name, data in sealed.objects.items():
            answer = self.put(sealed.ticket, name, data)
            assert answer.status_code == 204, answer.text

    def commit(self, sealed: SealedUpload, version: str | None = None) -> httpx.Response:
        answer: httpx.Response = self.control.post(
            f"/v1/uploads/{sealed.ticket.upload}/commit",
            json={"version": version or sealed.version},
            headers=self.bearer(),
        )
        return answer

    def upload(self, name: str, table: pa.Table, policy: Policy, **options: Any) -> dict[str, Any]:
        sealed = self.seal(name, table, policy, **options)
        self.put_all(sealed)
        answer = self.commit(sealed)
        assert answer.status_code == 200, answer.text
        described: dict[str, Any] = answer.json()
        return described

    def set_policy(self, table: str, policy: Policy, *, widen: bool = False) -> httpx.Response:
        body = {"policy": policy.to_json(), "widen": widen}
        answer: httpx.Response = self.control.put(
            f"/v1/tables/{table}/policy", json=body, headers=self.bearer()
        )
        return answer

    def submit(
        self, job: JobDocument, *, label: str = "analyst", signer: Identity | None = None
    ) -> httpx.Response:
        """Submit a job with the token of an analyst."""
        answer: httpx.Response = self.control.post(
            "/v1/jobs", json=signed(job, signer), headers=self.bearer(label)
        )
        return answer

    def decide(self, job: JobDocument | str, decision: str, **body: Any) -> httpx.Response:
        """Decide about a job as the owner."""
        digest = job if isinstance(job, str) else job.digest
        answer: httpx.Response = self.control.post(
            f"/v1/jobs/{digest}/{decision}", json=body, headers=self.bearer()
        )
        return answer

    def approve(
        self, job: JobDocument | str, *, runs: int = 1, seconds: int = 86400
    ) -> httpx.Response:
        expires_at = self.state.now() + seconds
        return self.decide(job, "approval", runs=runs, expires_at=expires_at)

    def agree(self, job: JobDocument) -> None:
        """Submit and approve a job, if the server takes it."""
        if job.digest not in self._agreed and self.submit(job).status_code == HTTPStatus.OK:
            answer = self.approve(job, runs=1000)
            assert answer.status_code == HTTPStatus.OK, answer.text
            self._agreed.add(job.digest)

    def tables(self) -> list[str]:
        answer = self.control.get("/v1/tables", headers=self.bearer())
        return [entry["name"] for entry in answer.json()["tables"]]

    def stored(self) -> set[str]:
        """Return the version ids that lie in the object store."""
        return {path.name for path in (self.directory / "objects").iterdir()}
