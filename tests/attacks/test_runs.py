"""Runs under attack, at real servers: greedy analysts, hostile hosts, and enclaves that die."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_enclave._program import program_measurement
from clf_enclave._run import EnclaveRun
from clf_enclave._session import RunIdentity, open_session
from clf_sdk._enclave_process import EnclaveProcess
from clf_sdk._http import HttpClient
from clf_sdk.audit import RemoteLog
from clf_sdk.errors import (
    BindingMismatch,
    ClfError,
    Conflict,
    GrantUsedUp,
    JobNotApproved,
    NotFound,
    RunRefused,
    TicketRefused,
)
from clf_sdk.keys import PrivateKey, SigningKey
from clf_sdk.protocol import JobDocument, JobRecord, JobStatus, RunRequest
from clf_testing import (
    Exchange,
    Owner,
    Simulation,
    allowed_enclave,
    execute,
    job_input,
    make_job,
    run_request,
)

Connect = Callable[..., clf.Connection]
MakeJob = Callable[..., JobDocument]


@pytest.fixture
def shared(clinic: Owner, connect: Connect, numbers: pa.Table, simulation: Simulation) -> Owner:
    policy = simulation.policy_with(approval="ask")
    clf.share(numbers, name="runs", policy=policy, to=connect(clinic))
    return clinic


@pytest.fixture
def job(shared: Owner) -> MakeJob:
    """Make jobs that differ from each other."""

    def make(**options: Any) -> JobDocument:
        reader = {"recipients": [clf.Identity.create().public]}
        return make_job([job_input(shared.server, "runs")], **(reader | options))

    return make


@pytest.fixture
def identity(simulation: Simulation) -> Callable[..., RunIdentity]:
    def make(job: JobDocument, **changes: Any) -> RunIdentity:
        fields: dict[str, Any] = {
            "run": os.urandom(16).hex(),
            "job": job,
            "hpke": PrivateKey.generate(),
            "signing": SigningKey.generate(),
            "provider": simulation.provider(),
        }
        return RunIdentity(**(fields | changes))

    return make


def status(owner: Owner, job: JobDocument) -> JobStatus:
    client = HttpClient(owner.owner)
    try:
        return client.ask(JobRecord, "GET", f"/v1/jobs/{job.digest}").status
    finally:
        client.close()


def logged(owner: Owner, **known: Any) -> list[dict[str, Any]]:
    """Return what the audit log, verified, says about something."""
    client = HttpClient(owner.owner)
    try:
        entries = RemoteLog(client, owner.server).tail(1000)
    finally:
        client.close()
    found = [entry.details | {"event": entry.event} for entry in entries]
    return [each for each in found if all(each.get(key) == known[key] for key in known)]


def outputs(owner: Owner, run: str) -> list[str]:
    client = HttpClient(owner.owner)
    try:
        answer = client.send("GET", f"/v1/results/{run}")
    finally:
        client.close()
    return [part.split('"')[0] for part in answer.decode().split('"output":"')[1:]]


# -- a greedy analyst --------------------------------------------------------------------------


def test_fifty_parallel_runs_take_what_was_approved_and_no_more(
    shared: Owner, job: MakeJob, identity: Callable[..., RunIdentity]
) -> None:
    greedy = job()
    shared.agree(greedy, runs=7)

    def begin(_: int) -> int | str:
        try:
            return open_session(identity(greedy), shared.endpoint).session.grant.number
        except ClfError as error:
            return error.code

    with ThreadPoolExecutor(50) as pool:
        ended = Counter(pool.map(begin, range(50)))
    assert ended.pop("grant_used_up") == 43
    assert ended == dict.fromkeys(range(1, 8), 1)
    assert status(shared, greedy).runs_used == 7
    entries = logged(shared, job=greedy.digest)
    granted = [entry["number"] for entry in entries if entry["event"] == "session.granted"]
    assert sorted(granted) == list(range(1, 8))
    assert any(entry.get("code") == "grant_used_up" for entry in entries)
    shared.process.kill()
    shared.process.start()
    with pytest.raises(GrantUsedUp):
        open_session(identity(greedy), shared.endpoint)


def test_job_changed_after_its_approval_is_another_job(
    shared: Owner, job: MakeJob, simulation: Simulation
) -> None:
    approved = job()
    shared.agree(approved, runs=100)
    document = approved.to_json()
    more = document["operation"]["parameters"] | {"predictors": ["x", "id"]}
    mallory = clf.Identity.create().public.to_json()
    for change in (
        {"recipients": [mallory]},
        {"recipients": [*document["recipients"], mallory]},
        {"inputs": [document["inputs"][0] | {"columns": ["id", "x", "y"]}]},
        {"operation": document["operation"] | {"parameters": more}},
        {"purpose": "something else"},
    ):
        changed = JobDocument.parse(document | change)
        with pytest.raises(JobNotApproved):
            execute(changed, [shared.endpoint], simulation.provider())
        assert [entry["code"] for entry in logged(shared, job=changed.digest)] == [
            "job_not_approved"
        ]
    assert status(shared, approved).runs_used == 0


# -- a malicious host --------------------------------------------------------------------------


def test_sessions_mixed_between_two_runs_that_go_on_open_nothing(
    shared: Owner, job: MakeJob, identity: Callable[..., RunIdentity]
) -> None:
    wanted = job()
    shared.agree(wanted)
    first, second = identity(wanted), identity(wanted)
    with shared.control.attacked() as relay:
        open_session(first, shared.relayed)
    (answer,) = [each.answer for each in relay.seen if each.path == "/v1/sessions"]

    def swap(exchange: Exchange) -> None:
        if exchange.path == "/v1/sessions":
            exchange.answer = answer

    for victim in (second, identity(wanted, run=first.run)):
        with shared.control.attacked(after=swap), pytest.raises(BindingMismatch):
            open_session(victim, shared.relayed)


def test_stale_run_id_is_of_no_use(
    shared: Owner, job: MakeJob, simulation: Simulation, identity: Callable[..., RunIdentity]
) -> None:
    wanted, other = job(), job()
    shared.agree(other)
    ended = execute(wanted, [shared.endpoint], simulation.provider(), agreed=[shared])
    for stale in (identity(wanted, run=ended.run), identity(other, run=ended.run)):
        with pytest.raises(RunRefused):
            open_session(stale, shared.endpoint)
    assert status(shared, wanted).runs_used == 1
    assert status(shared, other).runs_used == 0
    refused = logged(shared, run=ended.run, code="run_refused")
    assert [entry["event"] for entry in refused] == ["session.refused"] * 2


def test_results_of_another_run_are_refused(
    shared: Owner, job: MakeJob, simulation: Simulation
) -> None:
    wanted = job()
    with shared.control.attacked() as relay:
        first = execute(wanted, [shared.relayed], simulation.provider(), agreed=[shared])
    puts = [each for each in relay.seen if "/v1/results/" in each.path]

    # The host puts the results of the first run in place of those of the second one.
    def replace(exchange: Exchange) -> None:
        if "/v1/results/" in exchange.path and exchange.method == "POST":
            exchange.request = next(each.request for each in puts if each.method == "POST")
            exchange.headers["Content-Length"] = str(len(exchange.request))

    started: list[dict[str, Any]] = []
    with shared.control.attacked(before=replace), pytest.raises(TicketRefused):
        execute(wanted, [shared.relayed], simulation.provider(), events=started)
    second = started[0]["run"]
    assert outputs(shared, second) == []
    assert logged(shared, run=second, event="result.refused")[0]["code"] == "ticket_refused"

    # Or puts what it saw again: it is the same result, or refused; never a second one.
    client = HttpClient(shared.analyst)
    for put in puts:
        headers = {name: put.headers[name] for name in ("Authorization", "Content-Type")}
        client.send(put.method, put.path, data=put.request, headers=headers)
    path = puts[0].path.replace(first.run, second)
    with pytest.raises(TicketRefused):
        client.send("PUT", path, data=puts[0].request, headers=headers)
    client.close()
    assert outputs(shared, first.run) == ["coefficients", "fit"]
    assert len(logged(shared, run=first.run, event="result.stored")) == 2


def test_another_result_of_a_run_is_refused(
    shared: Owner, job: MakeJob, simulation: Simulation
) -> None:
    """One enclave whose execution is rolled back by its host seals its outputs a second time."""
    wanted = job()
    shared.agree(wanted)
    rolled_back = EnclaveRun(
        run_request(wanted, [shared.endpoint]), simulation.provider(), lambda *_: None
    )
    rolled_back.execute()
    with pytest.raises(Conflict):
        rolled_back.execute()
    (run,) = {entry["run"] for entry in logged(shared, job=wanted.digest) if "run" in entry}
    assert logged(shared, run=run, event="result.refused")[0]["code"] == "conflict"
    assert len(logged(shared, run=run, event="result.stored")) == 2
    assert status(shared, wanted).runs_used == 1


def _session(number: int) -> Callable[[Exchange, Counter[str]], bool]:
    return lambda exchange, seen: exchange.path == "/v1/sessions" and seen[exchange.path] == number


STAGES: dict[str, tuple[str, bool, Callable[[Exchange, Counter[str]], bool], int]] = {
    # stage: which listener, whether the server hears of it first, which request, outputs stored
    "before it proves itself": ("control", False, _session(1), 0),
    "when keys were released": ("control", True, _session(1), 0),
    "while it pulls": ("data", False, lambda exchange, _: exchange.path.endswith("/0"), 0),
    "when it asks once more": ("control", True, _session(2), 0),
    "while it puts an output": ("control", True, lambda exchange, _: "/fit/" in exchange.path, 1),
    "before its receipt": (
        "control",
        False,
        lambda exchange, _: exchange.path.endswith("/receipt"),
        2,
    ),
}


@pytest.mark.parametrize("stage", STAGES)
def test_enclave_killed_at_any_stage_leaves_nothing_open_and_counts_once(
    shared: Owner, job: MakeJob, simulation: Simulation, connect: Connect, stage: str
) -> None:
    listener, heard, is_it, stored = STAGES[stage]
    reader = clf.Identity.create()
    wanted = job(
        recipients=[reader.public], enclave=allowed_enclave(mrenclave=program_measurement())
    )
    shared.agree(wanted, runs=1)
    request = run_request(wanted, [shared.relayed])
    victim: list[EnclaveProcess] = []
    seen: Counter[str] = Counter()
    killed = False

    def kill(exchange: Exchange) -> None:
        nonlocal killed
        seen[exchange.path] += 1
        if not killed and is_it(exchange, seen):
            killed = True
            victim[0]._process.kill()
            exchange.status = (
                exchange.status or 503
            )  # what it said last is not heard, unless it was

    relay = shared.control if listener == "control" else shared.data
    attack = {"after": kill} if heard else {"before": kill}
    with relay.attacked(**attack):
        victim.append(EnclaveProcess(request, insecure_simulation=simulation.directory))
        assert victim[0]._process.wait(60) == -signal.SIGKILL
    assert killed
    assert len(outputs(shared, request.run)) == stored
    with pytest.raises(NotFound):
        clf.fetch(
            request.run,
            connections=[connect(shared)],
            identity=reader,
            anchor=clf.TrustAnchor.insecure_simulation(simulation.anchor),
        )

    # The run goes on under its id, without a second count, unless it has delivered something.
    provider = simulation.provider(mrenclave=program_measurement())
    follower = RunRequest(**(dict(request) | {"endpoints": [shared.endpoint]}))
    again = EnclaveRun(follower, provider, lambda *_: None)
    if stored:
        with pytest.raises(RunRefused):
            again.execute()
    else:
        again.execute()
        assert outputs(shared, request.run) == ["coefficients", "fit"]
    assert status(shared, wanted).runs_used == 1
