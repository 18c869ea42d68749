"""An approved job is so many runs until a date, counted here: docs/protocol.md §3.3."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_sdk.keys import SigningKey
from clf_sdk.protocol import JobDocument, SessionAnswer
from clf_server._administration import Administration
from clf_testing import (
    HandmadeEnclave,
    LocalServer,
    Sender,
    Simulation,
    job_input,
    make_job,
    the_analyst,
)

Refused = Callable[[Any], tuple[int, str]]
Enclave = Callable[..., HandmadeEnclave]


@pytest.fixture
def policy(simulation: Simulation) -> clf.Policy:
    return simulation.policy_with(approval="ask")


@pytest.fixture
def server(local: LocalServer, numbers: pa.Table, policy: clf.Policy) -> LocalServer:
    local.upload("t", numbers, policy)
    return local


@pytest.fixture
def job(server: LocalServer) -> JobDocument:
    return make_job([job_input(server.server_id, "t")])


@pytest.fixture
def enclave(simulation: Simulation, server: LocalServer, job: JobDocument) -> Enclave:
    """Make enclaves for one job, to which nobody has agreed yet."""

    def make(of: JobDocument = job, **fields: Any) -> HandmadeEnclave:
        return HandmadeEnclave(simulation, server, of, agreed=False, **fields)

    return make


def approve(server: LocalServer, job: JobDocument, **grant: Any) -> None:
    assert server.submit(job).status_code == 200
    answer = server.approve(job, **grant)
    assert answer.status_code == 200, answer.text


def pull(server: LocalServer, answer: SessionAnswer, name: str = "0") -> Any:
    version_id = answer.session.inputs[0].version_id
    return server.data.get(
        f"/v1/blobs/{version_id}/{name}",
        headers={"Authorization": f"CLF-Ticket {answer.access.blobs.ticket}"},
    )


def logged(server: LocalServer, event: str) -> list[dict[str, Any]]:
    return [entry.details for entry in server.audited() if entry.event == event]


def used(server: LocalServer, job: JobDocument) -> int:
    answer = server.control.get(f"/v1/jobs/{job.digest}", headers=server.bearer())
    return int(answer.json()["status"]["runs_used"])


def test_only_an_approved_job_opens_a_session(
    server: LocalServer, job: JobDocument, enclave: Enclave, refused: Refused
) -> None:
    def ask() -> tuple[int, str]:
        return refused(enclave().ask())

    assert ask() == (403, "job_not_approved")
    server.submit(job)
    assert ask() == (403, "job_not_approved")
    server.approve(job, runs=9, seconds=60)
    assert enclave().ask().status_code == 200
    with Administration(server.directory) as operator:
        operator.pause()
        assert ask() == (503, "server_paused")
        operator.resume()
    server.clock.now += 60
    assert ask() == (403, "grant_expired")
    server.approve(job, runs=9)
    assert enclave().ask().status_code == 200
    server.decide(job, "revocation", reason="enough")
    assert ask() == (403, "job_revoked")
    other = make_job([job_input(server.server_id, "t")], recipients=[clf.Identity.create().public])
    server.submit(other)
    server.decide(other, "refusal", reason="no")
    assert refused(enclave(other).ask()) == (403, "job_refused")
    assert [entry["code"] for entry in logged(server, "session.refused")] == [
        "job_not_approved",
        "job_not_approved",
        "server_paused",
        "grant_expired",
        "job_revoked",
        "job_refused",
    ]
    assert {"server.paused", "server.resumed"} <= {entry.event for entry in server.audited()}


def test_job_of_an_analyst_who_was_removed_does_not_run(
    server: LocalServer, job: JobDocument, enclave: Enclave, refused: Refused
) -> None:
    approve(server, job)
    with Administration(server.directory) as operator:
        operator.remove_analyst("analyst")
    assert refused(enclave().ask()) == (403, "analyst_refused")


def test_job_edited_on_disk_does_not_run(
    server: LocalServer, job: JobDocument, enclave: Enclave, refused: Refused
) -> None:
    approve(server, job)
    ((document,),) = server.sql("SELECT document FROM jobs")
    edited = bytes(document).replace(b"a-job", b"b-job")
    server.sql("UPDATE jobs SET document = ?", edited)
    assert refused(enclave().ask()) == (409, "job_altered")
    assert logged(server, "session.granted") == []
    assert logged(server, "session.refused")[0]["code"] == "job_altered"


def test_runs_are_counted_and_sessions_of_a_run_are_not(
    server: LocalServer, job: JobDocument, enclave: Enclave, refused: Refused
) -> None:
    approve(server, job, runs=2)
    first, second, third = enclave(), enclave(), enclave()
    grants = [each.open().session.grant for each in (first, first, second, first)]
    assert [grant.number for grant in grants] == [1, 1, 2, 1]
    assert [grant.runs for grant in grants] == [2, 2, 2, 2]
    assert used(server, job) == 2
    server.restart()
    assert refused(third.ask()) == (403, "grant_used_up")
    assert first.open().session.grant.number == 1
    assert logged(server, "session.refused")[0]["code"] == "grant_used_up"
    server.approve(job, runs=3)  # in all
    assert third.open().session.grant.number == 3
    assert refused(enclave().ask()) == (403, "grant_used_up")


def test_policy_s_number_of_runs_limits_what_was_approved(
    server: LocalServer,
    job: JobDocument,
    enclave: Enclave,
    refused: Refused,
    simulation: Simulation,
) -> None:
    approve(server, job, runs=5)
    enclave().open()
    server.set_policy("t", simulation.policy_with(approval="ask", runs=1))
    assert refused(enclave().ask()) == (403, "policy_refused")
    assert used(server, job) == 1


def test_several_tables_of_one_owner_count_once(
    server: LocalServer, enclave: Enclave, numbers: pa.Table, policy: clf.Policy
) -> None:
    server.upload("u", numbers, policy)
    joined = make_job([job_input(server.server_id, name) for name in ("t", "u")])
    approve(server, joined)
    assert enclave(joined).open().session.grant.number == 1
    assert used(server, joined) == 1


def test_run_id_is_of_one_job(
    server: LocalServer, job: JobDocument, enclave: Enclave, refused: Refused
) -> None:
    other = make_job([job_input(server.server_id, "t")], recipients=[clf.Identity.create().public])
    for each in (job, other):
        approve(server, each)
    first = enclave()
    first.open()
    stale = enclave(other, run=first.run, signing=first.signing, hpke=first.hpke)
    assert refused(stale.ask()) == (403, "run_refused")
    assert used(server, other) == 0
    assert "another job" in logged(server, "session.refused")[0]["reason"]


def test_crashed_run_goes_on_in_another_enclave_without_a_second_count(
    server: LocalServer, job: JobDocument, enclave: Enclave, refused: Refused
) -> None:
    approve(server, job)
    crashed = enclave()
    before = crashed.open()
    server.restart()
    server.clock.now += 899
    follower = enclave(run=crashed.run)
    after = follower.open()
    assert (after.session.grant.number, after.session.grant.resumed) == (1, True)
    assert follower.open().session.grant.resumed is False
    assert used(server, job) == 1
    # From now on the one before can pull nothing and store nothing.
    again = enclave(run=crashed.run, signing=crashed.signing, hpke=crashed.hpke)
    server.clock.now += 1
    assert refused(again.ask()) == (403, "run_refused")
    assert pull(server, after).status_code == 200
    assert pull(server, before).status_code == 401  # its ticket died with the process, too
    assert [entry["resumed"] for entry in logged(server, "session.granted")] == [False, True, False]


def test_enclave_that_was_relieved_pulls_and_stores_nothing(
    server: LocalServer, job: JobDocument, enclave: Enclave, refused: Refused
) -> None:
    approve(server, job)
    relieved = Sender(enclave())
    assert pull(server, relieved.session).status_code == 200
    follower = enclave(run=relieved.enclave.run)
    follower.open()
    server.monotonic.now += 6  # a check is believed for five seconds
    assert refused(relieved.put()) == (403, "run_refused")
    assert pull(server, relieved.session).json()["code"] == "run_refused"
    assert relieved.visible() == []
    assert logged(server, "result.refused")[0]["code"] == "run_refused"
    assert logged(server, "blob.refused")[0]["code"] == "run_refused"


def test_relieved_enclave_finishes_nothing_even_right_after_a_check(
    server: LocalServer, job: JobDocument, enclave: Enclave, refused: Refused
) -> None:
    approve(server, job)
    relieved = Sender(enclave())
    relieved.put_all()
    enclave(run=relieved.enclave.run).open()
    assert refused(relieved.finish()) == (403, "run_refused")  # decided in the transaction
    assert relieved.visible() == []


def test_run_is_taken_over_three_times_and_not_after_its_result(
    server: LocalServer, job: JobDocument, enclave: Enclave, refused: Refused
) -> None:
    approve(server, job, runs=2)
    first = enclave()
    first.open()
    for _ in range(3):
        enclave(run=first.run).open()
    assert refused(enclave(run=first.run).ask()) == (403, "run_refused")
    sender = Sender(enclave())
    sender.put_all()
    assert sender.finish().status_code == 204
    assert refused(enclave(run=sender.enclave.run).ask()) == (403, "run_refused")
    assert sender.enclave.open().session.grant.resumed is False
    assert used(server, job) == 2


def test_run_does_not_go_on_over_other_data(
    server: LocalServer,
    job: JobDocument,
    enclave: Enclave,
    refused: Refused,
    numbers: pa.Table,
    policy: clf.Policy,
) -> None:
    approve(server, job, runs=2)
    started = Sender(enclave())
    started.put_all()
    server.upload("t", numbers.slice(1), policy)
    assert refused(started.enclave.ask()) == (403, "run_refused")
    assert refused(started.finish()) == (401, "ticket_refused")  # it stood on what is gone
    assert pull(server, started.session).status_code == 401
    enclave().open()


def test_run_does_not_go_on_over_other_rows(
    server: LocalServer,
    job: JobDocument,
    enclave: Enclave,
    refused: Refused,
    simulation: Simulation,
) -> None:
    approve(server, job, runs=2)
    started = enclave()
    started.open()
    fewer = simulation.policy_with(approval="ask", rows="x < 7")
    assert server.set_policy("t", fewer).status_code == 200
    assert refused(started.ask()) == (403, "run_refused")
    assert refused(enclave(run=started.run).ask()) == (403, "run_refused")
    again = enclave()
    assert again.open().session.inputs == again.open().session.inputs


@pytest.mark.parametrize("stop", ["revoke", "pause", "expire", "remove", "tighten", "drop"])
def test_tickets_end_with_what_they_stand_on(
    server: LocalServer,
    job: JobDocument,
    enclave: Enclave,
    simulation: Simulation,
    stop: str,
) -> None:
    approve(server, job, runs=2, seconds=100)
    sender = Sender(enclave())
    sender.put_all()
    assert pull(server, sender.session).status_code == 200
    with Administration(server.directory) as operator:
        match stop:
            case "revoke":
                server.decide(job, "revocation", reason="r")
            case "pause":
                operator.pause()
            case "expire":
                server.clock.now += 100
            case "remove":
                operator.remove_analyst("analyst")
            case "tighten":
                server.set_policy("t", simulation.policy_with(approval="ask", release="review"))
            case "drop":
                server.control.delete("/v1/tables/t", headers=server.bearer())
    code = {
        "revoke": "job_revoked",
        "pause": "server_paused",
        "expire": "grant_expired",
        "remove": "analyst_refused",
        "tighten": "ticket_refused",
        "drop": "ticket_refused",
    }[stop]
    # What is stored is decided in its own transaction, at once.
    assert sender.finish().json()["code"] == code
    server.monotonic.now += 5  # what is pulled, after five seconds
    assert pull(server, sender.session).json()["code"] == code
    assert sender.put("0").json()["code"] == code
    codes = {entry["code"] for entry in logged(server, "blob.refused")}
    assert codes | {entry["code"] for entry in logged(server, "result.refused")} == {code}


def test_revoked_job_that_a_policy_approved_stays_revoked(
    server: LocalServer, job: JobDocument, simulation: Simulation
) -> None:
    server.set_policy("t", simulation.policy_with(runs=3), widen=True)
    assert server.submit(job).json()["state"] == "approved"
    assert server.submit(job).json()["automatic"] is True
    server.decide(job, "revocation", reason="no more")
    again = server.submit(job)
    assert (again.status_code, again.json()["state"]) == (200, "revoked")
    approved = logged(server, "job.approved")
    assert [(entry["automatic"], entry["by"], entry["runs"]) for entry in approved] == [
        (True, None, 3)
    ]


def test_run_that_nobody_started_has_no_ticket(
    enclave: Enclave, server: LocalServer, job: JobDocument, refused: Refused
) -> None:
    approve(server, job)
    sender = Sender(enclave())
    forged = sender.signed(SigningKey.generate())
    sender.put_all()
    assert refused(sender.finish(forged))[1] == "ticket_refused"
    assert logged(server, "result.refused")[-1]["run"] == sender.enclave.run
    assert the_analyst().id == logged(server, "job.approved")[0]["analyst"]
