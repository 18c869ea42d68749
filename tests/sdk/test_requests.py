"""Owners decide about what was submitted: `requests`, `submit`, and servers that lie about it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_sdk.errors import (
    ConfigurationError,
    Conflict,
    InvalidInput,
    JobAltered,
    NotFound,
    SignatureInvalid,
)
from clf_testing import Exchange, Owner, Simulation, the_analyst

Connect = Callable[..., clf.Connection]
Ask = Callable[..., clf.Submission]


@pytest.fixture
def deciding(
    clinic: Owner, connect: Connect, numbers: pa.Table, simulation: Simulation
) -> clf.Connection:
    """Connect as the owner, who has shared a table and wants to be asked."""
    connection = connect(clinic)
    policy = simulation.policy_with(approval="ask")
    clf.share(numbers, name="asked", policy=policy, to=connection, widen=True)
    return connection


@pytest.fixture
def ask(clinic: Owner, connect: Connect, deciding: clf.Connection, simulation: Simulation) -> Ask:
    """Submit jobs as the analyst."""
    analyst = connect(clinic, "analyst")
    assert deciding.server == analyst.server

    def submit(name: str, **changes: Any) -> clf.Submission:
        job = clf.Job(
            name=name,
            inputs=[analyst.table("asked")],
            on="id",
            operation=clf.GLM(outcome="y", family="gaussian"),
            enclave=simulation.enclave_policy,
            analyst=the_analyst(),
            **changes,
        )
        return clf.submit(job, identity=the_analyst(), connections=[analyst])

    return submit


def test_request_is_shown_and_decided(deciding: clf.Connection, ask: Ask) -> None:
    submission = ask("visits", purpose="<b>why</b>")
    assert (submission.approved, submission.waiting) == (False, ("clinic",))
    request = clf.requests(deciding, state="pending")[submission.job.digest[:8]]
    assert "<b>why</b>" in request.show()
    assert "&lt;b&gt;why" in request._repr_html_()
    until = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)
    approved = request.approve(runs=3, until=until)
    assert (approved.state, approved.status.runs) == ("approved", 3)
    assert approved.status.expires_at == int(until.timestamp())
    assert request.refresh().state == "approved"
    frame = submission.refresh().to_pandas()
    assert frame[["owner", "state", "runs"]].to_numpy().tolist() == [["clinic", "approved", 3]]
    assert request.approve(runs=3, until=dt.timedelta(days=1)).status.runs == 3
    assert request.revoke().state == "revoked"
    with pytest.raises(Conflict):
        request.approve()
    listed = clf.requests(deciding).to_pandas()
    assert listed.loc[listed["digest"] == request.digest, "state"].tolist() == ["revoked"]


def test_changes_are_told_against_the_last_job_of_the_name(
    deciding: clf.Connection, ask: Ask
) -> None:
    first = ask("changing", purpose="one")
    second = ask("changing", purpose="two")
    requests = clf.requests(deciding)
    assert requests[first.job.digest].changes == ()
    assert [str(change) for change in requests[second.job.digest].changes] == [
        'purpose: "one" → "two"'
    ]
    assert requests[second.job.digest].refuse("no").status.reason == "no"


def test_requests_are_found_by_digest_and_never_by_name(deciding: clf.Connection, ask: Ask) -> None:
    digest = ask("found", purpose="found").job.digest
    requests = clf.requests(deciding)
    assert requests[digest[:8]].digest == digest
    assert requests[0].digest == digest
    assert len(requests[:1]) == 1
    for key in ("found", digest[:7], "0" * 64):
        with pytest.raises(NotFound, match="digest"):
            requests[key]
    doubled = clf.JobRequests([requests[0], requests[0]])
    with pytest.raises(InvalidInput, match="2 digests"):
        doubled[digest[:8]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runs": 0}, "runs"),
        ({"runs": True}, "runs"),
        ({"until": dt.datetime(2100, 1, 1)}, "time zone"),  # noqa: DTZ001 - that is the mistake
        ({"until": dt.timedelta(days=-1)}, "before it begins"),
    ],
)
def test_approval_that_makes_no_sense_is_refused(
    deciding: clf.Connection, ask: Ask, options: dict[str, Any], message: str
) -> None:
    submission = ask("nonsense")
    request = clf.requests(deciding)[submission.job.digest]
    with pytest.raises(InvalidInput, match=message):
        request.approve(**options)
    assert request.refresh().state == "pending"


def test_server_that_shows_another_job_is_found_out(
    clinic: Owner, deciding: clf.Connection, ask: Ask
) -> None:
    """What is approved is what the analyst signed, whatever the server makes of it."""
    submission = ask("lied-about", purpose="true")
    other = ask("lied-about", purpose="other").job
    relayed = clf.connect(clinic.process.owner)
    request = clf.requests(relayed)[submission.job.digest]

    def lie(change: Callable[[dict[str, Any]], Any]) -> Callable[[Exchange], None]:
        def after(exchange: Exchange) -> None:
            if exchange.path.endswith(submission.job.digest):
                record = json.loads(exchange.answer)
                change(record)
                exchange.answer = json.dumps(record).encode()

        return after

    def show_another(record: dict[str, Any]) -> None:
        record["job"]["purpose"] = "harmless"

    def show_all_of_another(record: dict[str, Any]) -> None:
        record["job"] = other.document.to_json()

    def forge(record: dict[str, Any]) -> None:
        record["signature"] = "A" * 86 + "=="

    for change, error in (
        (show_another, JobAltered),
        (show_all_of_another, JobAltered),
        (forge, SignatureInvalid),
    ):
        with clinic.control.attacked(after=lie(change)) as relay:
            for act in (request.show, request.approve, request.refresh):
                with pytest.raises(error):
                    act()
            assert not [each for each in relay.seen if each.method == "POST"]
    assert clf.requests(deciding)[request.digest].state == "pending"
    relayed.close()


def test_submission_needs_every_owner_and_the_analyst_s_own_identity(
    deciding: clf.Connection, ask: Ask
) -> None:
    job = ask("whose").job
    with pytest.raises(ConfigurationError):
        clf.submit(job, identity=clf.Identity.create(), connections=[deciding])
    with pytest.raises(ConfigurationError):
        clf.submit(job, identity=the_analyst(), connections=[])
