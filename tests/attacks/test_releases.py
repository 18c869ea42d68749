"""Owners who review, recipients in a hurry, and owners who lie about shares."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_sdk.errors import NotFound, ReleasePending, ReleaseRefused, SealBroken
from clf_sdk.protocol import JobDocument
from clf_testing import Exchange, Owner, Simulation, admit, execute, job_input, make_job


@dataclass
class Reviewed:
    """Two jobs at two owners who both review; every output of all but one run is released."""

    owners: tuple[Owner, Owner]
    connections: tuple[clf.Connection, clf.Connection]
    identity: clf.Identity
    anchor: clf.TrustAnchor
    job: JobDocument
    first: str
    second: str
    other: str
    pending: str

    def fetch(self, run: str | None = None) -> clf.Result:
        return clf.fetch(
            run or self.first,
            connections=self.connections,
            identity=self.identity,
            anchor=self.anchor,
        )


@pytest.fixture(scope="module")
def runs(
    clinic: Owner, insurer: Owner, simulation: Simulation, numbers: pa.Table
) -> Iterator[Reviewed]:
    owners = (clinic, insurer)
    policy = simulation.policy_with(release="review")
    identity = clf.Identity.create()
    for owner, columns in zip(owners, (["id", "x"], ["id", "y"]), strict=True):
        deciding = clf.connect(owner.owner)
        clf.share(numbers.select(columns), name="reviewed", policy=policy, to=deciding)
        deciding.close()
    inputs = [job_input(owner.server, "reviewed", name=owner.name) for owner in owners]
    job, another = (
        make_job(inputs, recipients=readers)
        for readers in ([identity.public], [identity.public, clf.Identity.create().public])
    )
    ids = [
        execute(
            each, [owner.endpoint for owner in owners], simulation.provider(), agreed=owners
        ).run
        for each in (job, job, another, job)
    ]
    for owner in owners:
        deciding = clf.connect(owner.owner)
        for output in clf.releases(deciding):
            if output.run in ids[:3]:
                output.approve()
        deciding.close()
    connections = clf.connect(clinic.relayed_analyst), clf.connect(insurer.relayed_analyst)
    yield Reviewed(
        owners=owners,
        connections=connections,
        identity=identity,
        anchor=clf.TrustAnchor.insecure_simulation(simulation.anchor),
        job=job,
        first=ids[0],
        second=ids[1],
        other=ids[2],
        pending=ids[3],
    )
    for connection in connections:
        connection.close()


def test_released_by_all_who_review_it_opens(runs: Reviewed) -> None:
    assert set(runs.fetch().outputs) == {"coefficients", "fit"}


def test_nothing_is_pulled_before_all_have_released(
    runs: Reviewed, connect: Callable[..., clf.Connection]
) -> None:
    for owner in runs.owners:
        owner.control.seen.clear()
    with pytest.raises(ReleasePending) as caught:
        runs.fetch(runs.pending)
    for who in ("clinic", "insurer"):
        assert f"{who} (coefficients, fit)" in caught.value.message
    clinic, insurer = (connect(owner) for owner in runs.owners)
    for output in clf.releases(clinic):
        if output.run == runs.pending:
            output.approve()
    with pytest.raises(ReleasePending) as caught:
        runs.fetch(runs.pending)
    assert "clinic" not in caught.value.message
    assert "insurer (coefficients, fit)" in caught.value.message
    seen = [exchange.path for owner in runs.owners for exchange in owner.control.seen]
    assert not [path for path in seen if path.endswith(("/manifest", "/0", "/document"))]
    log = insurer.audit()
    refused = list(log[log["event"] == "share.refused"]["details"])
    assert {entry["run"] for entry in refused} == {runs.pending}
    assert {entry["code"] for entry in refused} == {"release_pending"}

    # One refusal of one owner is enough, and for good.
    next(each for each in clf.releases(insurer) if each.run == runs.pending).refuse("too small")
    with pytest.raises(ReleaseRefused, match="too small"):
        runs.fetch(runs.pending)


@pytest.mark.parametrize(
    "instead", ["another run", "another job", "another owner", "another output"]
)
def test_share_of_something_else_opens_nothing(runs: Reviewed, instead: str) -> None:
    run = {"another run": runs.second, "another job": runs.other}.get(instead, runs.first)
    output = "fit" if instead == "another output" else "coefficients"
    giver = runs.connections[1 if instead == "another owner" else 0]
    share = giver.http.send("GET", f"/v1/results/{run}/{output}/share")

    def swap(exchange: Exchange) -> None:
        if exchange.path == f"/v1/results/{runs.first}/coefficients/share":
            exchange.status, exchange.answer = 200, share

    clinic = runs.owners[0]
    with (
        clinic.control.attacked(after=swap),
        pytest.raises(SealBroken, match=f"owner {clinic.server[:12]}… gave as its share"),
    ):
        runs.fetch()


def test_share_handed_to_somebody_else_is_of_no_use(runs: Reviewed) -> None:
    thief = clf.Identity.create()
    with pytest.raises(SealBroken, match="not sealed to your identity"):
        clf.fetch(runs.first, connections=runs.connections, identity=thief, anchor=runs.anchor)


def test_another_analyst_s_token_finds_no_run(
    runs: Reviewed, connect: Callable[..., clf.Connection]
) -> None:

    profiles = [
        admit(owner.directory, clf.Identity.create().public, label="mallory")
        for owner in runs.owners
    ]
    theirs = [clf.connect(profile) for profile in profiles]
    with pytest.raises(NotFound):
        clf.fetch(runs.first, connections=theirs, identity=runs.identity, anchor=runs.anchor)
    for connection in theirs:
        with pytest.raises(NotFound):
            connection.receipt(runs.first)
        assert len(clf.requests(connection)) == 0
        connection.close()
    assert connect(runs.owners[0]).receipt(runs.first)
