"""Jobs come in signed, and the owner decides: docs/protocol.md §3.1 and §3.2."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_sdk.protocol import JobDocument, JobRecord, JobStatus, canonical_json
from clf_server import _jobs
from clf_testing import (
    LocalServer,
    Simulation,
    allowed_enclave,
    job_input,
    make_job,
    signed,
    the_analyst,
)

Refused = Callable[[Any], tuple[int, str]]
DAY = 86400


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


def events(server: LocalServer, prefix: str = "job.") -> list[tuple[str, dict[str, Any]]]:
    return [
        (entry.event, entry.details)
        for entry in server.audited()
        if entry.event.startswith((prefix, "submission."))
    ]


def status(answer: Any) -> JobStatus:
    assert answer.status_code == 200, answer.text
    return JobStatus.parse(answer.json())


def record(server: LocalServer, job: JobDocument, label: str = "owner") -> JobRecord:
    answer = server.control.get(f"/v1/jobs/{job.digest}", headers=server.bearer(label))
    assert answer.status_code == 200, answer.text
    return JobRecord.parse(answer.json())


def listed(server: LocalServer, label: str = "owner", **query: Any) -> list[str]:
    answer = server.control.get("/v1/jobs", params=query, headers=server.bearer(label))
    assert answer.status_code == 200, answer.text
    return [entry["job"] for entry in answer.json()["jobs"]]


def edit(server: LocalServer, statement: str, *values: Any) -> None:
    server.sql(statement, *values)


def test_submitted_job_waits_under_its_digest(server: LocalServer, job: JobDocument) -> None:
    found = status(server.submit(job))
    assert (found.job, found.state, found.runs, found.expires_at) == (job.digest, "pending", 0, 0)
    assert (found.analyst, found.analyst_label) == (the_analyst().id, "analyst")
    kept = record(server, job)
    assert kept.job == job
    assert kept.previous is None
    the_analyst().public.verify("job", job.to_json(), kept.signature)
    assert events(server) == [
        ("job.submitted", {"job": job.digest, "name": job.name, "analyst": the_analyst().id})
    ]


def test_same_job_again_changes_nothing(server: LocalServer, job: JobDocument) -> None:
    first = status(server.submit(job))
    server.clock.now += 100
    assert status(server.submit(job)) == first
    status(server.decide(job, "refusal", reason="not now"))
    assert status(server.submit(job)).state == "refused"
    assert [event for event, _ in events(server)] == ["job.submitted", "job.refused"]


def test_job_is_kept_to_the_byte(server: LocalServer, job: JobDocument) -> None:
    status(server.submit(job))
    ((document,),) = server.sql("SELECT document FROM jobs")
    assert document == canonical_json(job.to_json())


def test_token_of_another_analyst_submits_nothing(
    server: LocalServer, job: JobDocument, refused: Refused
) -> None:
    mallory = clf.Identity.create()
    server.admit(mallory, label="mallory")
    for signer in (mallory, the_analyst()):
        answer = server.submit(job, label="mallory", signer=signer)
        assert refused(answer) == (403, "analyst_refused")
    assert refused(server.submit(job, label="owner"))[1] == "token_refused"
    assert listed(server) == []
    assert [event for event, _ in events(server)] == ["submission.refused"] * 2


def test_analyst_whom_the_owner_did_not_add_submits_nothing(
    server: LocalServer, refused: Refused
) -> None:
    stranger = clf.Identity.create()
    job = make_job([job_input(server.server_id, "t")], analyst=stranger)
    assert refused(server.submit(job, signer=stranger)) == (403, "analyst_refused")


def test_signature_of_another_job_or_person_is_refused(
    server: LocalServer, job: JobDocument, refused: Refused
) -> None:
    other = make_job([job_input(server.server_id, "t", columns=["id", "x"])])
    body = signed(job) | {"signature": signed(other)["signature"]}
    answer = server.control.post("/v1/jobs", json=body, headers=server.bearer("analyst"))
    assert refused(answer) == (400, "signature_invalid")
    assert refused(server.submit(job, signer=clf.Identity.create()))[1] == "signature_invalid"
    assert listed(server) == []
    (_, details), _ = events(server)
    assert details["code"] == "signature_invalid"
    assert details["job"] == job.digest


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"table": "nothing"}, "not_found"),
        ({"columns": ["id", "nothing"]}, "not_found"),
        ({"version": "00" * 32}, "not_found"),
        ({"server": "00" * 32}, "invalid_job"),
    ],
)
def test_job_that_asks_for_what_is_not_there_is_refused(
    server: LocalServer, refused: Refused, changes: dict[str, Any], code: str
) -> None:
    job = make_job([job_input(**{"server": server.server_id, "table": "t"} | changes)])
    assert refused(server.submit(job))[1] == code


def test_submitted_job_can_be_followed_after_its_table_has_changed(
    server: LocalServer, numbers: pa.Table, policy: clf.Policy
) -> None:
    version = server.upload("t", numbers, policy)["version"]
    job = make_job([job_input(server.server_id, "t", version=version)])
    status(server.submit(job))
    server.upload("t", numbers.slice(1), policy)
    assert status(server.submit(job)).state == "pending"


def test_one_analyst_cannot_bury_the_owner_in_requests(
    server: LocalServer, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_jobs, "MOST_PENDING", 2)
    entry = job_input(server.server_id, "t")
    jobs = [make_job([entry], recipients=[clf.Identity.create().public]) for _ in range(3)]
    for job in jobs[:2]:
        status(server.submit(job))
    assert refused(server.submit(jobs[2])) == (413, "too_large")
    status(server.decide(jobs[0], "refusal", reason="enough"))
    status(server.submit(jobs[2]))


def test_one_analyst_cannot_fill_the_disk_with_jobs(
    server: LocalServer,
    simulation: Simulation,
    refused: Refused,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_jobs, "MOST_A_DAY", 2)
    monkeypatch.setattr(_jobs, "_DAY_SECONDS", 60)
    server.set_policy("t", simulation.policy_with(approval="automatic"), widen=True)
    entry = job_input(server.server_id, "t")
    jobs = [make_job([entry], recipients=[clf.Identity.create().public]) for _ in range(3)]
    assert [server.submit(job).status_code for job in jobs] == [200, 200, 413]
    server.clock.now += 60
    status(server.submit(jobs[2]))
    large = JobDocument.parse(
        jobs[0].to_json() | {"operation": {"name": "glm", "parameters": {"code": "x" * (1 << 20)}}}
    )
    assert refused(server.submit(large)) == (413, "too_large")
    codes = [details["code"] for event, details in events(server) if event == "submission.refused"]
    assert codes == ["too_large", "too_large"]


def test_analyst_sees_its_own_jobs_only(server: LocalServer, job: JobDocument) -> None:
    mallory = clf.Identity.create()
    server.admit(mallory, label="mallory")
    status(server.submit(job))
    theirs = make_job([job_input(server.server_id, "t")], analyst=mallory)
    status(server.submit(theirs, label="mallory", signer=mallory))
    assert listed(server) == [theirs.digest, job.digest]
    assert listed(server, "analyst") == [job.digest]
    assert listed(server, "mallory") == [theirs.digest]
    answer = server.control.get(f"/v1/jobs/{job.digest}", headers=server.bearer("mallory"))
    assert answer.status_code == 404
    assert record(server, theirs, "mallory").previous is None  # the other's job is not told
    assert record(server, theirs).previous == job.digest


@pytest.mark.parametrize("number", [2.0**53, 1e16, -1e20, 1e300])
def test_number_in_a_job_does_not_hide_all_jobs_from_the_owner(
    server: LocalServer, job: JobDocument, number: float
) -> None:
    status(server.submit(job))
    odd = make_job([job_input(server.server_id, "t")], parameters={"x": number})
    status(server.submit(odd))
    assert listed(server) == [odd.digest, job.digest]
    assert record(server, odd).job.operation.parameters == {"x": number}


def test_job_that_is_nested_without_end_is_malformed(
    server: LocalServer, job: JobDocument, refused: Refused
) -> None:
    nested = json.dumps(signed(job)).replace('"confidence"', f'"a":{"[" * 400}{"]" * 400},"b"')
    for path, body in (
        ("/v1/jobs", nested),
        ("/v1/sessions", f'{{"evidence":{{}},"job":{json.dumps(json.loads(nested)["job"])}}}'),
    ):
        headers = {"Content-Type": "application/json"} | server.bearer("analyst")
        answer = server.control.post(path, content=body, headers=headers)
        assert refused(answer) == (400, "malformed")


def test_list_can_be_narrowed(server: LocalServer) -> None:
    entry = job_input(server.server_id, "t")
    jobs = [make_job([entry], recipients=[clf.Identity.create().public]) for _ in range(3)]
    for job in jobs:
        status(server.submit(job))
    status(server.approve(jobs[1]))
    assert listed(server, state="approved") == [jobs[1].digest]
    assert listed(server, state="pending") == [jobs[2].digest, jobs[0].digest]
    assert listed(server, limit=1) == [jobs[2].digest]
    assert listed(server, name="other") == []
    for query in ({"limit": 0}, {"limit": 1001}, {"state": "open"}, {"name": "A"}):
        answer = server.control.get("/v1/jobs", params=query, headers=server.bearer())
        assert answer.json()["code"] == "malformed"


def test_only_the_owner_decides(server: LocalServer, job: JobDocument) -> None:
    status(server.submit(job))
    for decision in ("approval", "refusal", "revocation"):
        for headers in (server.bearer("analyst"), {}):
            path = f"/v1/jobs/{job.digest}/{decision}"
            answer = server.control.post(path, json={"reason": "r"}, headers=headers)
            assert answer.json()["code"] == "token_refused"
    assert record(server, job).status.state == "pending"


def test_approval_is_absolute_and_logged(server: LocalServer, job: JobDocument) -> None:
    status(server.submit(job))
    found = status(server.approve(job, runs=2))
    assert (found.state, found.runs, found.runs_used) == ("approved", 2, 0)
    assert (found.decided_by, found.decided_at) == ("owner", server.state.now())
    assert status(server.approve(job, runs=2)) == found
    assert status(server.approve(job, runs=5)).runs == 5
    logged = [details for event, details in events(server) if event == "job.approved"]
    assert [entry["runs"] for entry in logged] == [2, 5]
    assert logged[0] == {
        "job": job.digest,
        "analyst": the_analyst().id,
        "by": "owner",
        "automatic": False,
        "runs": 2,
        "runs_used": 0,
        "expires_at": server.state.now() + DAY,
    }
    assert record(server, job, "analyst").status.decided_by is None


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"runs": 1},
        {"runs": 0, "expires_at": 4_000_000_000},
        {"runs": 1_000_001, "expires_at": 4_000_000_000},
        {"runs": True, "expires_at": 4_000_000_000},
        {"runs": 1.5, "expires_at": 4_000_000_000},
        {"runs": 1, "expires_at": None},
        {"runs": 1, "expires_at": 1 << 53},
        {"runs": 1, "expires_at": 1},
    ],
)
def test_approval_without_count_and_date_is_refused(
    server: LocalServer, job: JobDocument, body: dict[str, Any]
) -> None:
    status(server.submit(job))
    assert server.decide(job, "approval", **body).status_code == 400
    assert record(server, job).status.state == "pending"


def test_refused_and_revoked_are_final(
    server: LocalServer, job: JobDocument, refused: Refused
) -> None:
    assert refused(server.approve(job)) == (404, "not_found")
    status(server.submit(job))
    assert refused(server.decide(job, "revocation", reason="r")) == (409, "conflict")
    assert status(server.decide(job, "refusal", reason="too much")).reason == "too much"
    assert record(server, job, "analyst").status.reason == "too much"
    for decision in ("approve", "revocation"):
        answer = (
            server.approve(job)
            if decision == "approve"
            else server.decide(job, decision, reason="r")
        )
        assert refused(answer) == (409, "conflict")

    other = make_job([job_input(server.server_id, "t")], recipients=[clf.Identity.create().public])
    status(server.submit(other))
    status(server.approve(other))
    assert refused(server.decide(other, "refusal", reason="r")) == (409, "conflict")
    revoked = status(server.decide(other, "revocation", reason="r"))
    assert revoked.state == "revoked"
    assert status(server.decide(other, "revocation", reason="again")) == revoked
    assert refused(server.approve(other)) == (409, "conflict")


def test_reason_must_say_something(server: LocalServer, job: JobDocument) -> None:
    status(server.submit(job))
    for reason in ("", "x" * 1001, None, 7):
        assert server.decide(job, "refusal", reason=reason).json()["code"] == "malformed"


def test_job_that_was_edited_on_disk_is_not_approved(
    server: LocalServer, job: JobDocument, refused: Refused
) -> None:
    status(server.submit(job))
    wider = JobDocument.parse(job.to_json() | {"purpose": "harmless"})
    edit(server, "UPDATE jobs SET document = ?", canonical_json(wider.to_json()))
    assert refused(server.approve(job)) == (409, "job_altered")
    shown = server.control.get(f"/v1/jobs/{job.digest}", headers=server.bearer())
    assert refused(shown) == (409, "job_altered")
    assert server.sql("SELECT state FROM jobs") == [("pending",)]
    assert [event for event, _ in events(server)] == ["job.submitted", "job.altered"]


def test_altered_job_is_listed_and_can_be_revoked(server: LocalServer, job: JobDocument) -> None:
    status(server.submit(job))
    status(server.approve(job))
    other = make_job([job_input(server.server_id, "t")], recipients=[clf.Identity.create().public])
    status(server.submit(other))
    edit(server, "UPDATE jobs SET document = ? WHERE digest = ?", b"{}", job.digest)
    listed = server.control.get("/v1/jobs", headers=server.bearer()).json()["jobs"]
    assert [each["operation"] for each in listed] == ["glm", None]
    revoked = status(server.decide(job, "revocation", reason="r"))
    assert (revoked.state, revoked.operation, revoked.purpose) == ("revoked", None, None)
    assert [event for event, _ in events(server)][-1] == "job.revoked"


def test_approval_of_one_digest_is_of_no_other(server: LocalServer, job: JobDocument) -> None:
    status(server.submit(job))
    status(server.approve(job))
    mine = job.to_json()
    changes: list[dict[str, Any]] = [
        {"purpose": "."},
        {"recipients": [clf.Identity.create().public.to_json()]},
        {"enclave": allowed_enclave(mrenclave="cd" * 32).to_json()},
        {"operation": mine["operation"] | {"parameters": {}}},
    ]
    for change in changes:
        other = JobDocument.parse(mine | change)
        assert status(server.submit(other)).state == "pending"
