"""A server keeps the one receipt of a run, if the run's own enclave signed it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from clf_enclave._results import SealedOutput, seal_outputs
from clf_enclave._session import RunIdentity
from clf_sdk.keys import SigningKey
from clf_sdk.protocol import JobDocument, SessionAnswer
from clf_sdk.receipt import MOST_RECEIPT_BYTES
from clf_testing import HandmadeEnclave, HandmadeRun, LocalServer, Simulation, job_input, make_job

Refused = Callable[[Any], tuple[int, str]]


class Sender:
    """An enclave that delivered its outputs, and puts a receipt that a test may get wrong."""

    def __init__(self, enclave: HandmadeEnclave) -> None:
        self.enclave = enclave
        self.server: LocalServer = enclave.server
        self.answer: SessionAnswer = enclave.open()
        identity = RunIdentity(
            enclave.run, enclave.job, enclave.hpke, enclave.signing, enclave.simulation.provider()
        )
        (self.output,) = seal_outputs(identity, {"fit": pa.table({"n": [1, 2]})}, reviewers=[])
        self.made = HandmadeRun(
            enclave.simulation,
            owners=(self.server.state.identity,),
            run=enclave.run,
            hpke=enclave.hpke,
            signing=enclave.signing,
            versions={"fit": self.output.signed.envelope.version},
        )
        self.made.job = enclave.job

    def headers(self) -> dict[str, str]:
        return {"authorization": f"CLF-Ticket {self.answer.access.results.ticket}"}

    def deliver(self, output: SealedOutput) -> None:
        base = f"/v1/results/{self.enclave.run}/{output.signed.envelope.output}"
        for name, data in output.objects.items():
            path = f"{base}/{output.signed.envelope.version_id}/{name}"
            answer = self.server.control.put(path, content=data, headers=self.headers())
            assert answer.status_code == 204, answer.text
        answer = self.server.control.post(
            base, json=output.signed.to_json() | {"share": None}, headers=self.headers()
        )
        assert answer.status_code == 204, answer.text

    def put(
        self, data: bytes, *, run: str | None = None, headers: dict[str, str] | None = None
    ) -> Any:
        return self.server.control.put(
            f"/v1/results/{run or self.enclave.run}/receipt",
            content=data,
            headers=self.headers() if headers is None else headers,
        )

    def get(self, role: str = "analyst") -> Any:
        path = f"/v1/results/{self.enclave.run}/receipt"
        return self.server.control.get(path, headers=self.server.bearer(role))


@pytest.fixture
def sender(simulation: Simulation, local: LocalServer, shared: dict[str, Any]) -> Sender:
    entry = job_input(
        local.server_id, shared["name"], version=shared["version"], columns=["id", "x", "y"]
    )
    made = Sender(HandmadeEnclave(simulation, local, make_job([entry])))
    made.deliver(made.output)
    return made


@pytest.mark.parametrize("role", ["owner", "analyst"])
def test_receipt_comes_back_byte_for_byte(sender: Sender, role: str) -> None:
    data = sender.made.seal()
    assert sender.put(data).status_code == 204
    answer = sender.get(role)
    assert (answer.status_code, answer.content) == (200, data)
    assert sender.made.verify(answer.content).run == sender.enclave.run


def test_receipt_survives_a_restart(sender: Sender) -> None:
    data = sender.made.seal()
    sender.put(data)
    sender.server.close()
    sender.server.restart()
    assert sender.get().content == data


def test_same_receipt_again_is_the_first_one(sender: Sender) -> None:
    data = sender.made.seal()
    assert [sender.put(data).status_code for _ in range(2)] == [204, 204]
    assert sender.get().content == data


def test_second_different_receipt_of_a_run_is_a_conflict(sender: Sender, refused: Refused) -> None:
    first, second = sender.made.seal(), sender.made.seal()
    assert first != second
    sender.put(first)
    assert refused(sender.put(second)) == (409, "conflict")
    assert sender.get().content == first


def test_receipt_before_the_outputs_is_refused(sender: Sender, refused: Refused) -> None:
    sender.made.versions = {"fit": sender.made.versions["fit"], "more": "a1" * 32}
    assert refused(sender.put(sender.made.seal())) == (400, "receipt_mismatch")
    assert refused(sender.get()) == (404, "not_found")


def test_receipt_of_other_outputs_is_refused(sender: Sender, refused: Refused) -> None:
    sender.made.versions = {"fit": "a1" * 32}
    assert refused(sender.put(sender.made.seal())) == (400, "receipt_mismatch")


def test_receipt_of_another_run_job_or_enclave_is_refused(sender: Sender, refused: Refused) -> None:
    made = sender.made
    run, job, signing = made.run, made.job, made.signing
    for change in (
        {"run": "00" * 16},
        {"job": JobDocument.parse(job.to_json() | {"purpose": "another"})},
        {"signing": SigningKey.generate()},
    ):
        for name, value in ({"run": run, "job": job, "signing": signing} | change).items():
            setattr(made, name, value)
        data = made.seal()
        assert made.verify(data).run == made.run
        assert refused(sender.put(data)) == (400, "receipt_mismatch")
    assert refused(sender.get()) == (404, "not_found")


def test_receipt_signed_by_another_key_than_the_quotes_bind_is_refused(
    sender: Sender, refused: Refused
) -> None:
    data = sender.made.seal(key=SigningKey.generate())
    assert refused(sender.put(data)) == (403, "binding_mismatch")


def test_receipt_without_the_owner_s_own_signature_is_refused(
    sender: Sender, refused: Refused
) -> None:
    statement = sender.made.statement()
    (owner,) = sender.made.owners
    statement["predicate"]["owners"] = [sender.made.proof(owner, signer=SigningKey.generate())]
    data = sender.made.seal(statement)
    assert refused(sender.put(data)) == (400, "server_identity_mismatch")


def test_what_is_no_receipt_is_malformed(sender: Sender, refused: Refused) -> None:
    data = sender.made.seal()
    for other in (b"", b"{}", b"\xff", data + b"\n", json.dumps(json.loads(data)).encode()):
        assert refused(sender.put(other)) == (400, "malformed")


def test_changed_receipt_is_refused(sender: Sender, refused: Refused) -> None:
    data = sender.made.seal()
    envelope = json.loads(data)
    text = envelope["payload"]
    place = len(text) // 2
    other = data.replace(text.encode(), (text[:place] + "A" * 4 + text[place + 4 :]).encode())
    assert refused(sender.put(other)) == (400, "signature_invalid")


def test_receipt_over_the_limit_is_refused(sender: Sender, refused: Refused) -> None:
    assert refused(sender.put(bytes(MOST_RECEIPT_BYTES + 1))) == (413, "too_large")


def test_tickets_that_are_not_for_the_results_of_this_run_put_no_receipt(
    sender: Sender, refused: Refused
) -> None:
    data = sender.made.seal()
    blobs = {"authorization": f"CLF-Ticket {sender.answer.access.blobs.ticket}"}
    for headers in ({}, blobs, sender.server.bearer(), {"authorization": "CLF-Ticket guess"}):
        assert refused(sender.put(data, headers=headers)) == (401, "ticket_refused")
    assert refused(sender.put(data, run="00" * 16)) == (401, "ticket_refused")
    sender.server.monotonic.now += 600
    assert refused(sender.put(data)) == (401, "ticket_refused")


def test_receipt_is_put_under_a_renewed_session(sender: Sender) -> None:
    data = sender.made.seal()
    sender.server.monotonic.now += 600
    sender.answer = sender.enclave.open()
    assert sender.put(data).status_code == 204


def test_receipt_needs_a_person_s_token(sender: Sender, refused: Refused) -> None:
    sender.put(sender.made.seal())
    path = f"/v1/results/{sender.enclave.run}/receipt"
    assert refused(sender.server.control.get(path)) == (401, "token_refused")
    answer = sender.server.control.get(path, headers=sender.headers())
    assert refused(answer) == (401, "token_refused")


def test_stored_receipt_stands_in_the_audit_log_once(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, Any]] = []
    append = type(sender.server.state.audit).append

    def spy(log: Any, event: str, details: Any, **options: Any) -> int:
        seen.append((event, details))
        return append(log, event, details, **options)

    monkeypatch.setattr(type(sender.server.state.audit), "append", spy)
    data = sender.made.seal()
    for _ in range(2):
        sender.put(data)
    digest = sender.made.verify(data).digest
    stored = {"run": sender.enclave.run, "job": sender.enclave.job.digest, "receipt": digest}
    assert seen == [("receipt.stored", stored)]


def test_unknown_run_has_no_receipt(sender: Sender, refused: Refused) -> None:
    assert refused(sender.get()) == (404, "not_found")
