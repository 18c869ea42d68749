"""Doctor visits explained: an insurer, a clinic and a hospital fit one Poisson regression.

Data: RAND Health Insurance Experiment, 20,190 people, public domain, as statsmodels ships it.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import clf_sdk as clf
from clf_sdk.errors import ConfigurationError, ReleasePending, RunFailed
from clf_sdk.protocol import JobStatus

if TYPE_CHECKING:
    import pandas as pd

KEY = "person_id"
OUTCOME = "mdvis"
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "insurer": ("lncoins", "idp", "lpi", "fmde"),
    "clinic": ("physlm", "disea", "hlthg", "hlthf", "hlthp"),
    "hospital": (OUTCOME,),
}
TABLES: Mapping[str, str] = {"insurer": "plans", "clinic": "health", "hospital": "visits"}
PREDICTORS = (*COLUMNS["insurer"], *COLUMNS["clinic"])
REVIEWER = "hospital"


@dataclass(frozen=True)
class DemoOutcome:
    """All that the demonstration found.

    Attributes
    ----------
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
        Coefficients of the pooled fit, by term.
    owners, server_pids, enclave_pid
        Which processes took part.
    shared
        What each owner shared.
    events
        What the enclave's host was told.
    timings
        Seconds for each stage.
    """

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
    def coefficients(self) -> dict[str, float]:
        """Coefficients of the joint fit, by term."""
        frame = self.result.to_pandas("coefficients")
        return dict(zip(frame["term"], frame["coefficient"], strict=True))

    @property
    def max_abs_difference(self) -> float:
        """Largest distance between a joint and a pooled coefficient."""
        joint = self.coefficients
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


def load_people() -> pd.DataFrame:
    """Load the experiment's people, each with an id."""
    try:
        from statsmodels.datasets import randhie  # noqa: PLC0415 - the demo alone needs it
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "the demonstration needs statsmodels", hint="pip install 'clf-sdk[demo]'"
        ) from error
    people: pd.DataFrame = randhie.load_pandas().data
    people.insert(0, KEY, range(1, len(people) + 1))
    return people


def pooled_fit(people: pd.DataFrame) -> dict[str, float]:
    """Fit the same model where one party sees everything: the reference."""
    import statsmodels.api as sm  # noqa: PLC0415 - the demo alone needs it

    design = sm.add_constant(people[list(PREDICTORS)])
    fitted = sm.Poisson(people[OUTCOME], design).fit(disp=False, method="newton", tol=1e-12)
    return {str(term): float(value) for term, value in fitted.params.items()}


def run_demo(folder: Path | None = None) -> DemoOutcome:
    """Run the whole demonstration, in a folder that is removed afterwards unless it is given."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="clf-demo-") as temporary:
            return run_demo(Path(temporary))
    timer = _Timer()
    with timer("total"), contextlib.ExitStack() as cleanup:
        return _run(folder, timer, cleanup)


def _run(folder: Path, timer: _Timer, cleanup: contextlib.ExitStack) -> DemoOutcome:
    with timer("load"):
        people = load_people()
    with timer("start_servers"):
        cluster = cleanup.enter_context(clf.testing.cluster(list(COLUMNS), directory=folder))
        pids = tuple(pid or 0 for pid in cluster.pids.values())

    # Each owner, in a notebook of its own: share one frame under a policy.
    program, owners = cluster.enclave, cluster.owners
    with timer("share"):
        for number, (owner, columns) in enumerate(COLUMNS.items()):
            policy = clf.Policy(
                enclave=program,
                operations=["glm"],
                release="review" if owner == REVIEWER else "at_once",
            )
            frame = people[[KEY, *columns]].sample(frac=1, random_state=number)
            clf.share(frame, name=TABLES[owner], policy=policy, to=owners[owner], progress=False)

    # The analyst has an identity; each owner's operator adds it and hands out a profile.
    identity = cluster.identity
    with timer("admit"), ThreadPoolExecutor() as pool:
        list(pool.map(cluster.analyst_profile, COLUMNS))

    # With a profile of each server the analyst builds the job, and submits it to all owners.
    analyst = list(cluster.analyst.values())
    tables = {
        owner: connection.table(TABLES[owner])
        for owner, connection in zip(COLUMNS, analyst, strict=True)
    }
    job = clf.Job(
        name="doctor-visits",
        purpose="How do cost sharing and health explain the number of doctor visits?",
        inputs=tables,
        on=KEY,
        operation=clf.GLM(outcome=OUTCOME, predictors=PREDICTORS, family="poisson"),
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
        for output in clf.releases(owners[REVIEWER]):
            output.report_lines()
            output.approve("aggregates over all people")
    with timer("fetch"):
        result = clf.fetch(run, connections=analyst, identity=identity)
    # Any owner, offline, with the file, the root that it trusts and the program that it reviewed.
    with timer("verify_receipt"):
        path = folder / "receipt.json"
        path.write_bytes(tables["insurer"].connection.receipt(run.id))
        receipt = clf.verify(path, anchor=cluster.anchor, policy=program, job=job.digest)
    with timer("pooled_fit"):
        reference = pooled_fit(people)
    events = tuple(run.events)
    return DemoOutcome(
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
        owners=tuple(COLUMNS),
        server_pids=pids,
        enclave_pid=next(int(event["pid"]) for event in events if event["event"] == "process"),
        shared=tuple(tables.values()),
        events=events,
        timings=timer.seconds,
    )
