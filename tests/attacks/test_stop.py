"""An owner stops a run that goes on: it ends with that owner's error, and leaves no result."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_enclave import _run, _watch
from clf_enclave._compute import compute
from clf_sdk._http import HttpClient
from clf_sdk.errors import (
    ClfError,
    JobRevoked,
    PolicyRefused,
    RunFailed,
    ServerPaused,
    TicketRefused,
)
from clf_sdk.protocol import JobDocument, RunResults
from clf_server._administration import Administration
from clf_testing import Exchange, Owner, Simulation, execute, job_input, make_job, the_analyst

Connect = Callable[..., clf.Connection]


@pytest.fixture
def job(clinic: Owner, connect: Connect, numbers: pa.Table, simulation: Simulation) -> JobDocument:
    policy = simulation.policy_with(approval="ask")
    clf.share(numbers, name="stopped", policy=policy, to=connect(clinic), widen=True)
    document = make_job(
        [job_input(clinic.server, "stopped")], recipients=[clf.Identity.create().public]
    )
    clinic.agree(document)
    return document


class Watched(list[dict[str, Any]]):
    """Events of a run, at one of which somebody acts."""

    def __init__(self, event: str, act: Callable[[], Any], *, nth: int = 1) -> None:
        self._event, self._act, self._left = event, act, nth

    def append(self, event: dict[str, Any]) -> None:
        super().append(event)
        if event["event"] == self._event:
            self._left -= 1
            if self._left == 0:
                self._act()


def results(owner: Owner, events: list[dict[str, Any]]) -> list[Any]:
    client = HttpClient(owner.owner)
    try:
        return client.ask(RunResults, "GET", f"/v1/results/{events[0]['run']}").outputs
    finally:
        client.close()


def revoke(connection: clf.Connection, job: JobDocument) -> None:
    clf.requests(connection)[job.digest].revoke("stop")


def test_revoked_while_it_pulls(
    clinic: Owner, connect: Connect, job: JobDocument, simulation: Simulation
) -> None:
    connection = connect(clinic)

    def before(exchange: Exchange) -> None:
        if exchange.path.endswith("/0"):
            revoke(connection, job)

    events: list[dict[str, Any]] = []
    with clinic.data.attacked(before=before), pytest.raises(JobRevoked):
        execute(job, [clinic.endpoint], simulation.provider(), events=events)
    assert "pulled" not in [event["event"] for event in events]
    assert results(clinic, events) == []
    log = connection.audit(last=5)
    assert list(log["event"])[-2:] == ["job.revoked", "blob.refused"]


@pytest.mark.parametrize("how", ["revoke", "pause", "tighten"])
def test_stopped_while_it_computes(
    clinic: Owner,
    connect: Connect,
    job: JobDocument,
    simulation: Simulation,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    monkeypatch.setattr(_watch, "ASK_SECONDS", 600)  # it hears of nothing before it has computed
    connection = connect(clinic)
    with Administration(clinic.directory) as operator:
        act, error = {
            "revoke": (lambda: revoke(connection, job), JobRevoked),
            "pause": (operator.pause, ServerPaused),
            "tighten": (
                lambda: connection.set_policy(
                    "stopped", simulation.policy_with(approval="ask", columns=["id"])
                ),
                PolicyRefused,
            ),
        }[how]
        events = Watched("aligned", act)
        try:
            with clinic.control.attacked() as relay, pytest.raises(error):
                execute(job, [clinic.relayed], simulation.provider(), events=events)
        finally:
            operator.resume()
    assert "computed" in [event["event"] for event in events]
    assert not [each for each in relay.seen if "/v1/results/" in each.path]
    assert results(clinic, events) == []


@dataclass
class LongFit:
    """A computation that takes until somebody ends it, and what became of it."""

    released: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    stage: ClfError | None = None

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:

        def slow(*arguments: Any, **options: Any) -> Any:
            options["report"]("fitting", {})
            assert self.released.wait(60)
            try:
                return compute(*arguments, **options)
            except ClfError as error:
                self.stage = error
                raise
            finally:
                self.ended.set()

        monkeypatch.setattr(_run, "compute", slow)
        monkeypatch.setattr(_watch, "ASK_SECONDS", 0.05)


@pytest.fixture
def long_fit(monkeypatch: pytest.MonkeyPatch) -> LongFit:
    fit = LongFit()
    fit.patch(monkeypatch)
    return fit


@pytest.mark.parametrize("how", ["revoke", "pause", "tighten"])
def test_long_computation_is_given_up_while_it_goes_on(
    clinic: Owner,
    connect: Connect,
    job: JobDocument,
    simulation: Simulation,
    long_fit: LongFit,
    how: str,
) -> None:
    connection = connect(clinic)
    narrower = simulation.policy_with(approval="ask", columns=["id"])
    with Administration(clinic.directory) as operator:
        act, error = {
            "revoke": (lambda: revoke(connection, job), JobRevoked),
            "pause": (operator.pause, ServerPaused),
            "tighten": (lambda: connection.set_policy("stopped", narrower), PolicyRefused),
        }[how]
        events = Watched("fitting", act)
        try:
            with pytest.raises(error):
                execute(job, [clinic.endpoint], simulation.provider(), events=events)
        finally:
            operator.resume()
    assert not long_fit.ended.is_set()
    told = len(events)
    long_fit.released.set()
    assert long_fit.ended.wait(30)
    assert isinstance(long_fit.stage, RunFailed)  # it ends at its next stage, and nobody hears
    assert len(events) == told
    assert results(clinic, events) == []


def test_ticket_that_ends_by_its_age_and_silence_stop_nothing_while_it_computes(
    clinic: Owner, job: JobDocument, simulation: Simulation, long_fit: LongFit
) -> None:
    def before(exchange: Exchange) -> None:
        if exchange.method != "GET" or "/v1/sessions/" not in exchange.path:
            return
        asked.append(exchange.path)
        match len(asked):
            case 1:  # what a host that forwards nothing looks like
                exchange.status, exchange.answer = 502, b"gone"
            case 2:
                exchange.headers["Authorization"] = "CLF-Ticket that-has-ended"
            case 4:
                long_fit.released.set()

    asked: list[str] = []
    events: list[dict[str, Any]] = []
    with clinic.control.attacked(before=before) as relay:
        execute(job, [clinic.relayed], simulation.provider(), events=events)
    assert asked[0] == asked[1] != asked[2] == asked[3]  # a session of its own after the ticket
    assert [exchange.path for exchange in relay.seen].count("/v1/sessions") == 3
    assert events[-1]["event"] == "delivered"


def test_session_of_others_is_not_asked_about(clinic: Owner) -> None:
    client = HttpClient(clinic.owner)
    with pytest.raises(TicketRefused):
        client.send("GET", f"/v1/sessions/{'00' * 16}")
    client.close()


def test_policy_tightened_before_results_are_put_is_asked_once_more(
    clinic: Owner, connect: Connect, job: JobDocument, simulation: Simulation
) -> None:
    """A host that holds the enclave back after it asked the owners gains nothing by that."""
    connection = connect(clinic)
    reviewing = simulation.policy_with(approval="ask", release="review")

    def before(exchange: Exchange) -> None:
        if exchange.path.endswith("/coefficients/" + exchange.path.split("/")[-2] + "/manifest"):
            connection.set_policy("stopped", reviewing)

    events: list[dict[str, Any]] = []
    with clinic.control.attacked(before=before) as relay, pytest.raises(PolicyRefused) as caught:
        execute(job, [clinic.relayed], simulation.provider(), events=events)
    assert caught.value.rule == "release"
    assert results(clinic, events) == []
    codes = [each.status for each in relay.seen if "/v1/results/" in each.path]
    assert 401 in codes  # the ticket ended with the policy


def test_stopped_run_tells_the_analyst_why(
    clinic: Owner, connect: Connect, numbers: pa.Table, simulation: Simulation
) -> None:
    """The same with an enclave process of its own, as an analyst sees it."""
    connection = connect(clinic)
    asking = simulation.policy_with(approval="ask")
    clf.share(numbers, name="stopped", policy=asking, to=connection, widen=True)
    job = clf.Job(
        name="stopped",
        inputs=[connection.table("stopped")],
        on="id",
        operation=clf.GLM(outcome="y", predictors=["x"], family="gaussian"),
        enclave=simulation.enclave_policy,
        analyst=the_analyst(),
        recipients=[clf.Identity.create()],
    )
    clinic.agree(job.document)
    run = clf.run(job, insecure_simulation=simulation.directory, wait=False)
    revoke(connection, job.document)
    with pytest.raises(JobRevoked, match="took the approval"):
        run.wait(progress=False, timeout_seconds=60)
    # Nor does it go on as a run that crashed.
    with pytest.raises(JobRevoked):
        clf.run(job, insecure_simulation=simulation.directory, resume=run, progress=False)


def test_refused_ticket_of_nobody_is_a_named_error(clinic: Owner) -> None:
    client = HttpClient(clinic.owner)
    with pytest.raises(TicketRefused):
        client.send("PUT", f"/v1/results/{'00' * 16}/receipt", data=b"{}")
    client.close()
