"""Servers that are stopped or killed at random moments, again and again, in uploads and runs."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx2 as httpx
import pyarrow as pa
import pytest
import requests

import clf_sdk as clf
import clf_testing
from clf_enclave._run import EnclaveRun
from clf_sdk._server_process import ServerProcess, free_port
from clf_sdk.attestation import TrustAnchor
from clf_sdk.audit import RemoteLog
from clf_sdk.errors import ClfError, RunRefused
from clf_sdk.protocol import JobDocument, JobRecord, Profile
from clf_server._provision import create_server
from clf_testing import (
    HandmadeEnclave,
    LocalServer,
    Simulation,
    admit,
    agree,
    endpoint_of,
    job_input,
    make_job,
    run_request,
    the_analyst,
)

_PATIENCE_SECONDS = 60.0


class Zygote:
    """Starts the server of a directory in milliseconds."""

    def __init__(self, directory: Path) -> None:
        support = str(Path(clf_testing.__file__).parents[1])
        self.log = directory.with_name("server.log")
        self._port = 0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "clf_testing._zygote", str(directory), str(self.log)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join([support, *sys.path])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def _ask(self) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def start(self, port: int) -> int:
        """Start the server, wait until it listens, and return its process."""
        pid, deadline = self._ask(), time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                assert time.monotonic() < deadline, self.log.read_text()[-2000:]
                time.sleep(0.005)
            else:
                return pid

    def wait(self) -> int:
        """Wait until the server ends, and return its exit code."""
        return self._ask()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture
def clinic(simulation: Simulation, tmp_path: Path) -> Iterator[tuple[Zygote, Path, int]]:
    port = free_port()
    directory = create_server(
        tmp_path / "clinic",
        name="clinic",
        port=port,
        blob_port=free_port(),
        insecure_simulation=simulation.anchor,
    ).directory
    zygote = Zygote(directory)
    yield zygote, directory, port
    zygote.close()


def test_nothing_that_was_confirmed_is_lost_whenever_a_server_stops(
    clinic: tuple[Zygote, Path, int], policy: clf.Policy, request: pytest.FixtureRequest
) -> None:
    zygote, directory, port = clinic
    rounds, chance = request.config.getoption("rounds"), random.Random(7)  # noqa: S311 - a test's
    owner = Profile.load(directory / "owner.profile.json")
    confirmed: dict[str, str] = {}
    shares = 0
    for number in range(rounds):
        pid = zygote.start(port)
        connection = clf.connect(owner)
        # What was confirmed is there; what was not may be, but then it is whole.
        found = _versions(connection)
        unsure = {name for name in confirmed if found.get(name) != confirmed[name]}
        assert unsure <= {_name(shares)}, (number, unsure)
        assert set(confirmed) <= set(found)
        kept = {path.name for path in (directory / "objects").iterdir()}
        assert len(kept) == len(found)
        confirmed = found

        how = chance.choice([signal.SIGKILL, signal.SIGTERM])
        killer = threading.Timer(chance.random() * 0.12, os.kill, (pid, how))
        killer.start()
        try:
            while True:
                table = pa.table({"n": [number, shares], "x": [chance.random()] * 2})
                shared = clf.share(table, name=_name(shares), policy=policy, to=connection)
                confirmed[shared.name] = shared.version
                shares += 1
        except ClfError:
            pass
        killer.join()
        connection.close()
        assert zygote.wait() == (-how if how == signal.SIGKILL else 0)

    pid = zygote.start(port)
    connection = clf.connect(owner)
    found = _versions(connection)
    assert all(found[name] == confirmed[name] for name in confirmed if name != _name(shares))
    RemoteLog(connection.http, connection.server).verify()
    connection.close()
    os.kill(pid, signal.SIGTERM)
    assert zygote.wait() == 0
    assert shares > 0


def test_runs_are_counted_and_delivered_once_whenever_a_server_stops(
    clinic: tuple[Zygote, Path, int],
    simulation: Simulation,
    numbers: pa.Table,
    request: pytest.FixtureRequest,
) -> None:
    zygote, directory, port = clinic
    rounds, chance = request.config.getoption("rounds"), random.Random(8)  # noqa: S311 - a test's
    owner, reader = Profile.load(directory / "owner.profile.json"), clf.Identity.create()
    analyst = admit(directory, the_analyst().public, label="analyst")
    pid = zygote.start(port)
    connection = clf.connect(owner)
    clf.share(numbers, name="plans", policy=simulation.policy_with(), to=connection)
    job = make_job([job_input(owner.server, "plans")], recipients=[reader.public])
    agree(job, owner=owner, analyst=analyst)
    anchor = TrustAnchor.insecure_simulation(simulation.anchor)
    granted: set[str] = set()
    delivered: dict[str, str] = {}
    for _ in range(2):  # the first one also loads what it needs
        wanted, started = run_request(job, [endpoint_of(owner)]), time.monotonic()
        EnclaveRun(wanted, simulation.provider(), _Granted(wanted.run, granted)).execute()
        delivered[wanted.run] = ""
        seconds = time.monotonic() - started  # of a run that nobody disturbs, on this machine
    tried, wanted = set(delivered), run_request(job, [endpoint_of(owner)])
    for _ in range(rounds):
        how = chance.choice([signal.SIGKILL, signal.SIGTERM])
        killer = threading.Timer(chance.random() * 1.5 * seconds, os.kill, (pid, how))
        killer.start()
        try:
            while True:
                tried.add(wanted.run)
                EnclaveRun(wanted, simulation.provider(), _Granted(wanted.run, granted)).execute()
                delivered[wanted.run] = ""
                wanted = run_request(job, [endpoint_of(owner)])
        except RunRefused:
            # Outputs lie there, or three other enclaves have taken the run over: begin anew.
            wanted = run_request(job, [endpoint_of(owner)])
        except ClfError:
            pass  # the next enclave takes the run over
        killer.join()
        connection.close()
        assert zygote.wait() == (-how if how == signal.SIGKILL else 0)

        pid = zygote.start(port)
        connection = clf.connect(owner)
        _check_counts(connection, job, granted=granted, tried=tried)
        for run, before in list(delivered.items())[-3:]:  # the others were looked at before
            receipt = connection.receipt(run)
            assert not before or before == digest_of(receipt)
            delivered[run] = digest_of(receipt)
    for run in chance.sample(sorted(delivered), min(5, len(delivered))):
        result = clf.fetch(run, connections=[connection], identity=reader, anchor=anchor)
        assert set(result.outputs) == {"coefficients", "fit"}
        assert digest_of(connection.receipt(run)) == delivered[run]
    RemoteLog(connection.http, connection.server).verify()
    connection.close()
    os.kill(pid, signal.SIGTERM)
    assert zygote.wait() == 0


def _check_counts(
    connection: clf.Connection, job: JobDocument, *, granted: set[str], tried: set[str]
) -> None:
    """What an enclave was told is durable, and each run took one from the count, once."""
    logged = RemoteLog(connection.http, connection.server).tail(100_000)
    opened = [entry.details for entry in logged if entry.event == "session.granted"]
    numbers = {details["run"]: details["number"] for details in opened}
    assert granted <= set(numbers) <= tried
    assert sorted(numbers.values()) == list(range(1, len(numbers) + 1))
    status = connection.http.ask(JobRecord, "GET", f"/v1/jobs/{job.digest}").status
    assert status.runs_used == len(numbers)


@dataclass
class _Granted:
    """Reports of an enclave: notes the run when a session was granted to it."""

    run: str
    granted: set[str]

    def __call__(self, event: str, _details: dict[str, Any]) -> None:
        if event == "session":
            self.granted.add(self.run)


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _name(number: int) -> str:
    return f"t{number % 5}"


def _versions(connection: clf.Connection) -> dict[str, str]:
    listed = connection.tables()
    return dict(zip(listed["name"], listed["version"], strict=True))


@dataclass
class _Process:
    """A server process as a handmade enclave talks to it."""

    control: httpx.Client
    server_id: str


def test_pull_in_flight_ends_before_a_stopped_server_does(
    make_server: Callable[..., ServerProcess], simulation: Simulation, policy: clf.Policy
) -> None:
    server = make_server("owner")
    connection = clf.connect(server.owner)
    frame = pa.table({"id": pa.array(range(4 << 20))})
    clf.share(frame, name="t", policy=policy, to=connection)
    connection.close()
    job = make_job([job_input(server.owner.server, "t")])
    analyst = admit(server.directory, the_analyst().public, label="analyst")
    agree(job, owner=server.owner, analyst=analyst)
    trusted = ssl.create_default_context(cadata=server.owner.ca)
    with httpx.Client(base_url=server.owner.url, verify=trusted) as control:
        process = cast("LocalServer", _Process(control, server.owner.server))
        answer = HandmadeEnclave(simulation, process, job, agreed=False).open()
    version_id, access = answer.session.inputs[0].version_id, answer.access.blobs
    pid = server.pid
    assert pid is not None

    with requests.get(
        f"{access.url}/v1/blobs/{version_id}/0",
        headers={"Authorization": f"CLF-Ticket {access.ticket}"},
        stream=True,
        timeout=30,
    ) as pull:
        pieces = pull.iter_content(1 << 20)
        size = len(next(pieces))
        os.kill(pid, signal.SIGTERM)
        time.sleep(0.5)
        with pytest.raises(requests.ConnectionError):
            requests.get(f"{access.url}/v1/blobs/{version_id}/0", timeout=5)
        size += sum(len(piece) for piece in pieces)
        assert size == int(pull.headers["content-length"]) > 30 << 20
    server.stop()
    assert "server_stopped" in server.log.read_text()
