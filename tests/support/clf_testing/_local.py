"""An owner's server in this process, whose clocks the test sets."""

from __future__ import annotations

import contextlib
import itertools
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from unittest import mock

import httpx2 as httpx
import pyarrow as pa
import sqlalchemy as sa
from starlette.testclient import TestClient

from clf_sdk import Identity, Policy
from clf_sdk.keys import derive_content_key
from clf_sdk.protocol import AuditEntry, JobDocument, Profile, UploadTicket, parse_json
from clf_sdk.sealed import ContentDigest, TableSealer, as_record_batches, content_tag
from clf_server import _state
from clf_server._app import create_apps
from clf_server._config import METADATA_NAME, load_config
from clf_server._database import SCHEMA
from clf_server._provision import create_server
from clf_server._state import ServerState, load_state
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
    table: str
    objects: dict[str, bytes]
    version: str
    content: str

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
        content = ContentDigest(batches.schema)
        watched = enumerate(content.watch(batches))
        objects = {str(n): bytes(sealer.seal(n, batch)) for n, batch in watched}
        sealed = sealer.finish()
        objects["manifest"] = sealed.sealed
        return cls(ticket, name, objects, sealed.version, content.hexdigest())

    def tag(self, content_key: bytes | None) -> str | None:
        """Return the tag of the content under a version's key."""
        if content_key is None:
            return None
        return content_tag(content_key, table=self.table, content=self.content)

    def tags(self) -> dict[str, str | None]:
        """Return what a client that makes digests says about the content."""
        own = derive_content_key(self.ticket.table_key, self.ticket.version_id)
        return {"content": self.tag(own), "same_as": self.tag(self.ticket.content_key)}


class _Balancer:
    """Sends each request to the next replica."""

    def __init__(self, clients: list[TestClient]) -> None:
        self._turns = itertools.cycle(clients)

    def __getattr__(self, name: str) -> Any:
        return getattr(next(self._turns), name)


class LocalServer:
    """The server of one directory; `restart` is what a new process would be.

    With stores that replicas share it is two replicas, of which requests reach one after the other,
    each with a copy of the directory, or with the same one.
    """

    control: Any
    data: Any

    def __init__(
        self,
        directory: Path,
        *,
        anchor: Path | None,
        now: float,
        blob_port: int | None = 4480,
        shared: Mapping[str, str] | None = None,
        same_directory: bool = False,
    ) -> None:
        self.directory = directory
        self.clock = Clock(now)
        self.monotonic = Clock(1000.0)
        self._agreed: set[str] = set()
        create_server(
            directory,
            name="clinic",
            blob_port=blob_port,
            insecure_simulation=anchor,
            settings=shared,
        )
        self.admit(the_analyst(), label="analyst")
        self.shared = shared
        self.directories = [directory]
        if shared is not None:
            other = directory.with_name(f"{directory.name}-replica")
            self.directories.append(directory if same_directory else other)
            if not same_directory:
                shutil.copytree(directory, other)
        self.states: list[ServerState]
        self.restart()

    @property
    def state(self) -> ServerState:
        return self.states[0]

    def _clock(self) -> float:
        # Replicas have no clock in common but the wall's: it moves with each of the test's clocks.
        return self.clock() + self.monotonic() - 1000.0

    def restart(self) -> None:
        alone = len(self.directories) == 1
        if not alone and hasattr(self, "states"):
            self.close()  # connections to PostgreSQL must not be left to the garbage collector
        # A process's lock ends with it; this process goes on, so it must not take it twice.
        with mock.patch.object(_state, "_lock"):
            self.states = [
                load_state(
                    directory,
                    clock=self.clock if alone else self._clock,
                    monotonic=self.monotonic,
                )
                for directory in self.directories
            ]
        apps = [create_apps(state) for state in self.states]
        self.app = apps[0][0]
        control = [TestClient(app, base_url="https://localhost") for app, _ in apps]
        data = [TestClient(app, base_url="http://localhost") for _, app in apps]
        self.control, self.data = (
            (control[0], data[0]) if alone else (_Balancer(control), _Balancer(data))
        )

    def close(self) -> None:
        for state in self.states:
            state.metadata.close()

    def sql(self, statement: str, *values: Any) -> list[Any]:
        """Run a statement with ``?`` for values, past the server, and return its rows."""
        with self.database() as connection:
            if self.state.metadata.shared:
                statement = statement.replace("?", "%s")
            result = connection.exec_driver_sql(statement, values)
            return [tuple(row) for row in result] if result.returns_rows else []

    @contextlib.contextmanager
    def database(self) -> Iterator[sa.Connection]:
        """Open the database as somebody who can write to it, past the server."""
        engine = sa.create_engine(load_config(self.directory).database, poolclass=sa.NullPool)
        with engine.begin() as connection:
            yield connection

    def database_bytes(self) -> bytes:
        """Return all that lies in the database, SQLite's log included."""
        if not self.state.metadata.shared:
            files = sorted(self.directory.glob(f"{METADATA_NAME}*"))
            return b"".join(path.read_bytes() for path in files)
        with self.database() as connection:
            rows = [
                row
                for table in SCHEMA.sorted_tables
                for row in connection.execute(sa.select(table))
            ]
        values = [value for row in rows for value in row]
        return b"\n".join(
            value if isinstance(value, bytes) else str(value).encode() for value in values
        )

    @property
    def server_id(self) -> str:
        return self.state.server_id

    def admit(self, analyst: Identity, *, label: str) -> Profile:
        """Make an analyst known, with a token whose profile has the label's name."""
        return admit(self.directory, analyst.public, label=label)

    def audited(self) -> list[AuditEntry]:
        """Return the audit log as it lies in the database."""
        rows = self.sql('SELECT entry FROM audit_entries ORDER BY "index"')
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

    def commit(
        self, sealed: SealedUpload, version: str | None = None, **tags: str | None
    ) -> httpx.Response:
        answer: httpx.Response = self.control.post(
            f"/v1/uploads/{sealed.ticket.upload}/commit",
            json={"version": version or sealed.version} | tags,
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

    def share(self, name: str, table: pa.Table, policy: Policy, **options: Any) -> dict[str, Any]:
        """Upload as `clf_sdk.share` does: what the table holds already stays."""
        sealed = self.seal(name, table, policy, **options)
        self.put_all(sealed)
        answer = self.commit(sealed, **sealed.tags())
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
        self.state.objects.settle()
        return set(self.state.objects.versions())

    def objects_of(self, version_id: str) -> dict[str, bytes]:
        """Return the objects of a version as they lie in the object store, by name."""
        store = self.state.objects
        return {name: store.read(version_id, name) for name in store.sizes(version_id)}
