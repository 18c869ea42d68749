"""One run of the demonstration, from shared tables to a verified receipt."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import clf_sdk as clf
from clf_sdk._demo._cancer import cancer
from clf_sdk._demo._credit import credit
from clf_sdk._demo._parts import Scenario
from clf_sdk._demo._scenario import health
from clf_sdk._demo._survival import survival
from clf_sdk.errors import ReleasePending, RunFailed
from clf_sdk.protocol import JobStatus

SCENARIOS: Mapping[str, Callable[[], Scenario]] = {
    "health": health,
    "cancer": cancer,
    "credit": credit,
    "survival": survival,
}


@dataclass(frozen=True)
class DemoOutcome:
    """All that the demonstration found.

    Attributes
    ----------
    scenario
        What was run.
    result
        What the analyst fetched.
    receipt
        What an owner verified offline, from the file that its server holds.
    approvals
        What each owner decided about the job.
    waited_for
        What fetching said before the release.
    released_by
        Who reviewed the outputs and released them.
    reference
        The numbers that matter, where one party sees everything.
    owners, server_pids, enclave_pid
        Which processes took part.
    shared
        What each owner shared.
    events
        What the enclave's host was told.
    timings
        Seconds for each stage.
    """

    scenario: Scenario
    result: clf.Result
    receipt: clf.VerifiedReceipt
    approvals: Mapping[str, JobStatus]
    waited_for: str
    released_by: tuple[str, ...]
    reference: Mapping[str, float]
    owners: tuple[str, ...]
    server_pids: tuple[int, ...]
    enclave_pid: int
    shared: tuple[clf.SharedTable, ...]
    events: tuple[Mapping[str, Any], ...]
    timings: Mapping[str, float]

    @property
    def joint(self) -> dict[str, float]:
        """The numbers that matter, of the joint run."""
        return self.scenario.joint(self.result.outputs)

    @property
    def max_abs_difference(self) -> float:
        """Largest distance between a joint and a pooled number."""
        joint = self.joint
        if set(joint) != set(self.reference):
            return float("inf")
        return max(abs(joint[term] - value) for term, value in self.reference.items())


class _Timer:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - started


def run_demo(scenario: str = "health", folder: Path | None = None) -> DemoOutcome:
    """Run one scenario, in a folder that is removed afterwards unless it is given."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="clf-demo-") as temporary:
            return run_demo(scenario, Path(temporary))
    timer = _Timer()
    with timer("total"), contextlib.ExitStack() as cleanup:
        with timer("load"):
            loaded = SCENARIOS[scenario]()
        return _run(loaded, folder, timer, cleanup)


def _run(
    scenario: Scenario, folder: Path, timer: _Timer, cleanup: contextlib.ExitStack
) -> DemoOutcome:
    names = list(scenario.tables)
    with timer("start_servers"):
        cluster = cleanup.enter_context(clf.testing.cluster(names, directory=folder))
        pids = tuple(pid or 0 for pid in cluster.pids.values())

    # Each owner, in a notebook of its own: share one frame under a policy.
    program, owners = cluster.enclave, cluster.owners
    with timer("share"):
        for owner, (table, frame) in scenario.tables.items():
            policy = clf.Policy(
                enclave=program,
                operations=[scenario.operation.operation],
                smallest_group=scenario.smallest_group,
                release="review" if owner == scenario.reviewer else "at_once",
            )
            clf.share(frame, name=table, policy=policy, to=owners[owner], progress=False)

    # Each owner's operator has made the analyst known. With a profile of each server the analyst
    # builds the job, and submits it to all owners.
    identity = cluster.identity
    analyst = list(cluster.analyst.values())
    tables = {
        owner: connection.table(scenario.tables[owner][0])
        for owner, connection in zip(names, analyst, strict=True)
    }
    job = clf.Job(
        name=scenario.name,
        purpose=scenario.purpose,
        inputs=tables,
        on=scenario.on,
        align=scenario.align,
        operation=scenario.operation,
        enclave=program,
        analyst=identity,
    )
    with timer("submit"):
        submission = clf.submit(job, identity=identity, connections=analyst)

    # Each owner looks at what is asked, and approves that one digest for one run.
    with timer("approve"):
        for connection in owners.values():
            request = clf.requests(connection)[job.digest]
            request.show()
            request.approve(runs=1)
        submission = submission.refresh()

    # The analyst runs the job. One owner demands to look at results first: so far, nobody can
    # open them.
    with timer("run"):
        run = clf.run(job, insecure_simulation=cluster.simulation, progress=False)
    try:
        clf.fetch(run, connections=analyst, identity=identity)
    except ReleasePending as pending:
        waited_for = pending.message
    else:
        raise RunFailed("the result could be opened before its release")

    # That owner sees shape, size and the disclosure report of each output, and releases them.
    with timer("release"):
        for output in clf.releases(owners[scenario.reviewer]):
            output.report_lines()
            output.approve("aggregates over all people")
    with timer("fetch"):
        result = clf.fetch(run, connections=analyst, identity=identity)
    # Any owner, offline, with the file, the root that it trusts and the program that it reviewed.
    with timer("verify_receipt"):
        path = folder / "receipt.json"
        path.write_bytes(tables[names[0]].connection.receipt(run.id))
        receipt = clf.verify(path, anchor=cluster.anchor, policy=program, job=job.digest)
    with timer("pooled_fit"):
        reference = scenario.reference()
    events = tuple(run.events)
    return DemoOutcome(
        scenario=scenario,
        result=result,
        receipt=receipt,
        approvals=dict(submission.statuses),
        waited_for=waited_for,
        released_by=tuple(
            name
            for name, connection in owners.items()
            if any(output.status == "released" for output in clf.releases(connection))
        ),
        reference=reference,
        owners=tuple(names),
        server_pids=pids,
        enclave_pid=next(int(event["pid"]) for event in events if event["event"] == "process"),
        shared=tuple(tables.values()),
        events=events,
        timings=timer.seconds,
    )
