from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_sdk.errors import SealBroken
from clf_sdk.keys import PrivateKey, derive_output_key
from clf_sdk.protocol import PublicKeyDocument, ReleaseShare, result_key_info, share_info
from clf_sdk.sealed import open_document
from clf_testing import (
    HandmadeEnclave,
    LocalServer,
    Sender,
    Simulation,
    job_input,
    make_job,
)

Refused = Callable[[Any], tuple[int, str]]
REPORT = {"rows": 2, "text": "nobody but the recipients reads this"}


@pytest.fixture(scope="module")
def recipient() -> clf.Identity:
    return clf.Identity.create()


@pytest.fixture
def reviewed(
    simulation: Simulation,
    local: LocalServer,
    numbers: pa.Table,
    policy: clf.Policy,
    recipient: clf.Identity,
) -> HandmadeEnclave:
    """An enclave with a job on a table whose owner reviews results."""
    local.upload("plans", numbers, clf.Policy.from_json(policy.to_json() | {"release": "review"}))
    job = make_job([job_input(local.server_id, "plans")], recipients=[recipient.public])
    return HandmadeEnclave(simulation, local, job)


@pytest.fixture
def sender(reviewed: HandmadeEnclave) -> Sender:
    sender = Sender(reviewed, output=REPORT, reviewers=[reviewed.server.server_id])
    sender.put_all()
    return sender


def share(sender: Sender, role: str = "analyst") -> Any:
    path = f"/v1/results/{sender.enclave.run}/fit/share"
    return sender.server.control.get(path, headers=sender.server.bearer(role))


def decide(sender: Sender, decision: str, role: str = "owner", reason: str = "") -> Any:
    return sender.server.control.post(
        f"/v1/results/{sender.enclave.run}/fit/release",
        json={"decision": decision, "reason": reason},
        headers=sender.server.bearer(role),
    )


def held(sender: Sender) -> dict[str, Any]:
    answer = sender.server.control.get(
        f"/v1/results/{sender.enclave.run}", headers=sender.server.bearer()
    )
    found: dict[str, Any] = answer.json()["outputs"][0]
    return found


def read(sender: Sender, recipient: clf.Identity, document: dict[str, Any]) -> Any:
    """Open the output as a recipient does, with the share that the server gave."""
    envelope = sender.output.signed.envelope
    info = result_key_info(
        run=envelope.run,
        job=envelope.job,
        output="fit",
        version=envelope.version,
        recipient=recipient.id,
    )
    base = recipient.open(envelope.keys[0].to_json(), info=info)
    part = recipient.open(
        ReleaseShare.parse(document).keys[0].to_json(),
        info=share_info(envelope, server=sender.server.server_id, recipient=recipient.id),
    )
    return open_document(
        sender.output.objects["document"],
        output="fit",
        output_key=derive_output_key(base, [part], envelope.version_id),
        version_id=envelope.version_id,
        expected_version=envelope.version,
    )


def test_share_is_kept_until_the_owner_releases_it(
    sender: Sender, recipient: clf.Identity, refused: Refused
) -> None:
    assert sender.finish().status_code == 204
    assert held(sender)["release"] == "pending"
    for role in ("analyst", "owner"):
        assert refused(share(sender, role)) == (403, "release_pending")
    answer = decide(sender, "approve", reason="no small cells")
    assert (answer.status_code, answer.json()["release"]) == (200, "released")
    assert held(sender)["reason"] == "no small cells"
    assert read(sender, recipient, share(sender).json()) == REPORT
    sender.server.restart()
    assert read(sender, recipient, share(sender).json()) == REPORT


def test_without_the_share_the_base_opens_nothing(sender: Sender, recipient: clf.Identity) -> None:
    envelope = sender.output.signed.envelope
    info = result_key_info(
        run=envelope.run,
        job=envelope.job,
        output="fit",
        version=envelope.version,
        recipient=recipient.id,
    )
    base = recipient.open(envelope.keys[0].to_json(), info=info)
    for parts in ([], [bytes(32)], [base]):
        with pytest.raises(SealBroken):
            open_document(
                sender.output.objects["document"],
                output="fit",
                output_key=derive_output_key(base, parts, envelope.version_id),
                version_id=envelope.version_id,
                expected_version=envelope.version,
            )


def test_refusal_is_for_good(sender: Sender, refused: Refused) -> None:
    sender.finish()
    assert decide(sender, "refuse", reason="cells too small").json()["release"] == "refused"
    assert refused(share(sender)) == (403, "release_refused")
    assert "cells too small" in share(sender).json()["detail"]
    assert refused(decide(sender, "approve")) == (409, "conflict")
    assert refused(share(sender)) == (403, "release_refused")
    kept = sender.server.database_bytes()
    for sealed in sender.output.shares[sender.server.server_id].keys:
        assert sealed.sealed.encode() not in kept
    assert sender.finish().status_code == 204  # the same output again changes nothing
    assert refused(share(sender)) == (403, "release_refused")


def test_refusal_after_a_release_stops_who_comes_later(sender: Sender, refused: Refused) -> None:
    sender.finish()
    decide(sender, "approve")
    assert share(sender).status_code == 200
    assert decide(sender, "refuse").json()["release"] == "refused"
    assert refused(share(sender)) == (403, "release_refused")


def test_other_analysts_see_nothing_of_a_run(
    sender: Sender, refused: Refused, recipient: clf.Identity
) -> None:
    sender.finish()
    decide(sender, "approve")
    server, run = sender.server, sender.enclave.run
    server.admit(clf.Identity.create(), label="mallory")
    server.admit(recipient, label="reader")
    job = sender.enclave.job.digest

    def ask(path: str, label: str) -> Any:
        return server.control.get(path, headers=server.bearer(label))

    for label, seen in (("analyst", 1), ("reader", 1), ("owner", 1), ("mallory", 0)):
        assert len(ask(f"/v1/results?job={job}", label).json()["runs"]) == seen
        assert len(ask(f"/v1/results/{run}", label).json()["outputs"]) == seen
    for end in ("fit/share", "fit/document", "receipt"):
        assert refused(ask(f"/v1/results/{run}/{end}", "mallory")) == (404, "not_found")
    assert ask(f"/v1/results/{run}/fit/share", "reader").status_code == 200


def test_share_that_was_asked_for_too_early_stands_in_the_audit_log(sender: Sender) -> None:
    sender.finish()
    share(sender)
    decide(sender, "refuse")
    share(sender)
    logged = [entry.details for entry in sender.server.audited() if entry.event == "share.refused"]
    assert [entry["code"] for entry in logged] == ["release_pending", "release_refused"]
    assert logged[0] == {
        "code": "release_pending",
        "analyst": sender.enclave.job.analyst.digest,
        "run": sender.enclave.run,
        "job": sender.enclave.job.digest,
        "output": "fit",
        "by": "analyst",
    }


def test_decision_twice_is_one_decision(sender: Sender) -> None:
    sender.finish()
    answers = [decide(sender, "approve", reason=reason).json() for reason in ("first", "second")]
    assert [answer["reason"] for answer in answers] == ["first", "first"]


def test_only_the_owner_decides_and_lists(sender: Sender, refused: Refused) -> None:
    sender.finish()
    assert refused(decide(sender, "approve", "analyst")) == (401, "token_refused")
    server = sender.server
    assert refused(server.control.get("/v1/releases", headers=server.bearer("analyst"))) == (
        401,
        "token_refused",
    )
    assert refused(share(sender)) == (403, "release_pending")
    (listed,) = server.control.get("/v1/releases", headers=server.bearer()).json()["releases"]
    assert (listed["envelope"]["output"], listed["release"]) == ("fit", "pending")
    assert listed["envelope"]["shape"] is None


def test_decisions_stand_in_the_audit_log(sender: Sender) -> None:
    sender.finish()
    decide(sender, "approve", reason="fine")
    decide(sender, "refuse", reason="after all not")
    server = sender.server
    answer = server.control.get("/v1/audit/entries", headers=server.bearer())
    log = [
        entry
        for line in answer.text.splitlines()
        if "release." in (entry := json.loads(line))["event"]
    ]
    assert [entry["event"] for entry in log] == ["release.approved", "release.refused"]
    assert [entry["details"]["reason"] for entry in log] == ["fine", "after all not"]
    assert [entry["details"]["by"] for entry in log] == ["owner", "owner"]
    assert {entry["details"]["job"] for entry in log} == {sender.enclave.job.digest}


def test_output_that_was_sealed_without_the_owner_is_refused(
    reviewed: HandmadeEnclave, refused: Refused
) -> None:
    sender = Sender(reviewed)
    sender.put_all()
    assert refused(sender.finish()) == (403, "policy_refused")
    assert sender.visible() == []


def test_output_without_its_share_is_refused(sender: Sender, refused: Refused) -> None:
    sender.output.shares.clear()  # type: ignore[attr-defined]  # the enclave forgot it
    assert refused(sender.finish()) == (400, "malformed")
    assert sender.visible() == []


@pytest.mark.parametrize(
    "changes",
    [
        {"run": "00" * 16},
        {"job": "00" * 32},
        {"output": "other"},
        {"version": "00" * 32},
        {"server": "00" * 32},
        {"keys": []},
    ],
    ids=repr,
)
def test_share_of_something_else_is_refused(
    sender: Sender, refused: Refused, changes: dict[str, Any]
) -> None:
    wrong = sender.output.shares[sender.server.server_id].model_copy(update=changes)
    assert refused(sender.finish(share=sender.share(wrong))) == (400, "malformed")
    assert sender.visible() == []


def test_share_for_another_session_or_key_does_not_open(sender: Sender, refused: Refused) -> None:
    for sealed in (
        sender.share(session="00" * 16),
        sender.share(key=PublicKeyDocument(**PrivateKey.generate().public.to_document())),
    ):
        assert refused(sender.finish(share=sealed)) == (400, "seal_broken")
    assert sender.visible() == []


def test_share_for_an_owner_who_does_not_review_is_refused(
    enclave: HandmadeEnclave, refused: Refused
) -> None:
    sender = Sender(enclave, reviewers=["ab" * 32])
    sender.put_all()
    stranger = sender.output.shares["ab" * 32]
    assert refused(sender.finish(share=sender.share(stranger))) == (400, "malformed")
    assert sender.finish().status_code == 204
    assert held(sender)["release"] == "at_once"
    assert refused(share(sender)) == (404, "not_found")
    assert refused(decide(sender, "approve")) == (404, "not_found")


def test_runs_of_a_job_are_listed_newest_first(
    simulation: Simulation, enclave: HandmadeEnclave
) -> None:
    server = enclave.server
    runs = []
    for _ in range(2):
        server.clock.now += 5
        again = Sender(HandmadeEnclave(simulation, server, enclave.job))
        again.put_all()
        assert again.finish().status_code == 204
        runs.append(again.enclave.run)
    path = "/v1/results"
    answer = server.control.get(
        path, params={"job": enclave.job.digest}, headers=server.bearer("analyst")
    )
    assert [entry["run"] for entry in answer.json()["runs"]] == runs[::-1]
    other = server.control.get(path, params={"job": "00" * 32}, headers=server.bearer())
    assert other.json() == {"runs": []}
