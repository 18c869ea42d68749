"""Owners that lie about a run: fetch() believes its receipt, and nothing that is not in it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_sdk.errors import (
    AnchorMismatch,
    BindingMismatch,
    ClfError,
    ConfigurationError,
    Malformed,
    NotFound,
    ReceiptMismatch,
    SealBroken,
    ServerError,
    SignatureInvalid,
)
from clf_sdk.keys import SigningKey
from clf_sdk.protocol import JobDocument, canonical_json
from clf_sdk.receipt import SignedReceipt, compare_receipts
from clf_testing import (
    Exchange,
    Owner,
    Simulation,
    execute,
    job_input,
    make_job,
    seal_payload,
)

Connect = Callable[..., clf.Connection]


@dataclass
class Runs:
    """Two runs of one job at two owners, and what anybody can ask about them."""

    owners: tuple[Owner, Owner]
    connections: tuple[clf.Connection, clf.Connection]
    identity: clf.Identity
    anchor: clf.TrustAnchor
    job: JobDocument
    first: str
    second: str

    def fetch(self, run: str | None = None, **options: Any) -> clf.Result:
        given: dict[str, Any] = {
            "connections": self.connections,
            "identity": self.identity,
            "anchor": self.anchor,
        }
        return clf.fetch(run or self.first, **(given | options))

    def receipts(self, run: str | None = None) -> list[bytes]:
        return [connection.receipt(run or self.first) for connection in self.connections]


@pytest.fixture(scope="module")
def runs(
    clinic: Owner, insurer: Owner, simulation: Simulation, numbers: pa.Table, policy: clf.Policy
) -> Iterator[Runs]:
    tables = {clinic: numbers.select(["id", "x"]), insurer: numbers.select(["id", "y"])}
    for owner, table in tables.items():
        connection = clf.connect(owner.owner)
        clf.share(table, name=f"{owner.name}-half", policy=policy, to=connection)
        connection.close()
    identity = clf.Identity.create()
    job = make_job(
        [job_input(owner.server, f"{owner.name}-half") for owner in tables],
        recipients=[identity.public],
    )
    endpoints = [owner.endpoint for owner in tables]
    first, second = (
        execute(job, endpoints, simulation.provider(), agreed=list(tables)).run for _ in range(2)
    )
    connections = clf.connect(clinic.relayed_analyst), clf.connect(insurer.relayed_analyst)
    yield Runs(
        owners=(clinic, insurer),
        connections=connections,
        identity=identity,
        anchor=clf.TrustAnchor.insecure_simulation(simulation.anchor),
        job=job,
        first=first,
        second=second,
    )
    for connection in connections:
        connection.close()


@pytest.fixture
def lie(runs: Runs) -> Iterator[Callable[..., None]]:
    """Let the first owners change the answers whose path ends as told, until the test ends."""

    def start(end: str, change: Callable[[Exchange], None], *, owners: int = 2) -> None:
        def after(exchange: Exchange) -> None:
            if exchange.path.endswith(end):
                change(exchange)

        for owner in runs.owners[:owners]:
            owner.control.after = after

    for owner in runs.owners:
        owner.control.seen.clear()
    yield start
    for owner in runs.owners:
        owner.control.after = lambda _exchange: None


def answering(data: bytes) -> Callable[[Exchange], None]:
    def change(exchange: Exchange) -> None:
        exchange.status, exchange.answer = 200, data

    return change


def pulled(runs: Runs) -> bool:
    """Tell whether ciphertext of an output was asked for."""
    return any(
        exchange.path.endswith(("/manifest", "/0"))
        for owner in runs.owners
        for exchange in owner.control.seen
    )


def test_owners_and_analyst_hold_the_same_receipt(runs: Runs) -> None:
    result = runs.fetch()
    first, second = runs.receipts()
    assert first == second == result.receipt.signed.data
    assert compare_receipts(first, second).same
    receipt = clf.verify(first, anchor=runs.anchor, run=runs.first, job=runs.job.digest)
    assert [(entry.name, entry.rows) for entry in receipt.inputs] == [
        ("clinic-half", 8),
        ("insurer-half", 8),
    ]
    assert receipt.aligned_rows == 8
    assert [output.name for output in receipt.outputs] == list(result.outputs)
    assert receipt.outputs[0].recipients == [runs.identity.public.id]
    assert [owner.server for owner in receipt.owners] == [owner.server for owner in runs.owners]


def test_receipt_carries_no_ticket_and_no_key(runs: Runs) -> None:
    receipt = SignedReceipt.parse(runs.receipts()[0])
    text = receipt.statement.canonical()
    for secret in (b"ticket", b"sealed", b'"keys":{', b"private"):
        assert secret not in text


def test_two_runs_of_a_job_have_two_receipts(runs: Runs) -> None:
    found = compare_receipts(runs.receipts()[0], runs.receipts(runs.second)[0])
    assert (found.same, found.same_run, found.same_job) == (False, False, True)


def test_owners_that_hold_different_receipts_are_named(
    runs: Runs, lie: Callable[..., None]
) -> None:
    lie("/receipt", answering(runs.receipts(runs.second)[0]), owners=1)
    with pytest.raises(ReceiptMismatch, match="'clinic' and 'insurer' hold different receipts"):
        runs.fetch()


def test_receipt_replayed_from_another_run_is_refused(runs: Runs, lie: Callable[..., None]) -> None:
    lie("/receipt", answering(runs.receipts(runs.second)[0]))
    with pytest.raises(ReceiptMismatch, match="of run"):
        runs.fetch()


def test_receipt_of_another_job_is_refused(
    runs: Runs, lie: Callable[..., None], simulation: Simulation
) -> None:
    job = make_job(runs.job.inputs, parameters={**runs.job.operation.parameters, "confidence": 0.9})
    endpoints = [owner.endpoint for owner in runs.owners]
    other = execute(job, endpoints, simulation.provider(), agreed=runs.owners).run
    lie("/receipt", answering(runs.receipts(other)[0]))
    with pytest.raises(ReceiptMismatch):
        runs.fetch()
    with pytest.raises(ReceiptMismatch, match="of job"):
        clf.verify(runs.receipts(other)[0], anchor=runs.anchor, job=runs.job.digest)


def test_receipt_forged_by_all_owners_together_is_refused(
    runs: Runs, lie: Callable[..., None]
) -> None:
    envelope = json.loads(runs.receipts()[0])
    statement = json.loads(base64.b64decode(envelope["payload"]))
    statement["predicate"]["aligned_rows"] = 7
    payload = canonical_json(statement)
    lie("/receipt", answering(seal_payload(payload, SigningKey.generate())))
    with pytest.raises(BindingMismatch):
        runs.fetch()
    envelope["payload"] = base64.b64encode(payload).decode()
    lie("/receipt", answering(canonical_json(envelope)))
    with pytest.raises(SignatureInvalid):
        runs.fetch()


@pytest.mark.parametrize("data", [b"", b"{}", b"<html>"])
def test_what_is_no_receipt_is_malformed(runs: Runs, lie: Callable[..., None], data: bytes) -> None:
    lie("/receipt", answering(data))
    with pytest.raises(Malformed):
        runs.fetch()


def test_results_swapped_for_those_of_another_run_are_refused(
    runs: Runs, lie: Callable[..., None]
) -> None:
    def swap(exchange: Exchange) -> None:
        listed = runs.connections[0].http.send("GET", f"/v1/results/{runs.second}")
        exchange.answer = listed.replace(runs.second.encode(), runs.first.encode(), 1)

    lie(f"/{runs.first}", swap)
    with pytest.raises(ClfError) as caught:
        runs.fetch()
    assert isinstance(caught.value, ReceiptMismatch | SignatureInvalid)


@pytest.mark.parametrize("name", ["version", "version_id", "keys", "job", "mode"])
def test_changed_envelope_is_not_signed_by_the_run_s_key(
    runs: Runs, lie: Callable[..., None], name: str
) -> None:
    def change(exchange: Exchange) -> None:
        listed = json.loads(exchange.answer)
        first, second = (entry["envelope"] for entry in listed["outputs"])
        first[name] = "dcap" if name == "mode" else "00" * 32 if name == "job" else second[name]
        exchange.answer = json.dumps(listed).encode()

    lie(f"/{runs.first}", change)
    with pytest.raises(SignatureInvalid):
        runs.fetch()
    assert not pulled(runs)


def test_outputs_that_are_missing_at_all_owners_are_missed(
    runs: Runs, lie: Callable[..., None]
) -> None:
    def drop(exchange: Exchange) -> None:
        listed = json.loads(exchange.answer)
        listed["outputs"].pop()
        exchange.answer = json.dumps(listed).encode()

    lie(f"/{runs.first}", drop)
    with pytest.raises(NotFound, match="1 of the run's 2 outputs"):
        runs.fetch()


def test_ciphertext_swapped_between_outputs_is_refused(
    runs: Runs, lie: Callable[..., None]
) -> None:
    other = runs.connections[0].http.send("GET", f"/v1/results/{runs.first}/fit/document")
    lie("/coefficients/manifest", answering(other))
    with pytest.raises(SealBroken):
        runs.fetch()


def test_nothing_is_pulled_of_a_run_whose_receipt_does_not_hold(runs: Runs) -> None:
    for owner in runs.owners:
        owner.control.seen.clear()
    with pytest.raises(AnchorMismatch):
        runs.fetch(anchor=None)
    with pytest.raises(ClfError):
        runs.fetch(policy=clf.EnclavePolicy(mrenclave="cd" * 32))
    assert not pulled(runs)


def test_owner_that_is_not_connected_is_missed(runs: Runs) -> None:
    for connection in runs.connections:
        with pytest.raises(ConfigurationError, match="1 of the job's owners"):
            runs.fetch(connections=[connection])


def test_run_without_a_receipt_was_not_delivered(runs: Runs, simulation: Simulation) -> None:
    def refuse(exchange: Exchange) -> None:
        if exchange.method == "PUT" and exchange.path.endswith("/receipt"):
            exchange.status, exchange.answer = 500, b""

    started: list[dict[str, Any]] = []
    clinic, insurer = runs.owners
    with clinic.control.attacked(before=refuse), pytest.raises(ServerError):
        execute(runs.job, [clinic.relayed, insurer.endpoint], simulation.provider(), events=started)
    run = started[0]["run"]
    with pytest.raises(NotFound):
        runs.fetch(run)
    with pytest.raises(NotFound, match="no receipt"):
        runs.connections[0].receipt(run)
