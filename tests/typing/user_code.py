"""A user's program: `make lint` checks its types strictly, and it is never run.

Each annotation is one that a user may rely on.
"""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
from matplotlib.axes import Axes

import clf_sdk as clf


def share_as_owner(frame: pd.DataFrame) -> clf.SharedTable:
    clinic: clf.Connection = clf.connect("owner.profile.json")
    policy = clf.Policy(
        enclave=clf.EnclavePolicy(mrenclave="00" * 32),
        operations=["glm"],
        columns=["person_id", "age"],
        rows="age >= 18",
        smallest_group=20,
        release="review",
    )
    limits: dict[str, object] = policy.to_json()
    assert limits
    tables: pd.DataFrame = clinic.tables()
    assert tables.empty
    return clf.share(frame, name="health", policy=policy, to=clinic)


def decide_as_owner(clinic: clf.Connection) -> int:
    for request in clf.requests(clinic, state="pending"):
        done: clf.JobRequest = request.approve(runs=1)
        words: str = done.show()
        assert words
    for output in clf.releases(clinic):
        output.approve("as agreed")
    return len(clf.releases(clinic))


def ask_as_analyst(clinic: clf.Connection, hospital: clf.Connection) -> clf.Job:
    return clf.Job(
        name="visits",
        purpose="How many visits?",
        inputs={"clinic": clinic.table("health")[["age"]], "hospital": hospital.table("visits")},
        on="person_id",
        operation=clf.GLM(outcome="visits", family="poisson"),
        enclave="00" * 32,
    )


def ask_with_noise(clinic: clf.Connection) -> clf.Job:
    operation = clf.PrivateStatistics(
        statistics=[
            clf.private.count(epsilon=0.5),
            clf.private.mean("age", lower=0, upper=110, epsilon=0.5),
            clf.private.histogram("sex", categories=["f", "m"], epsilon=0.2),
        ],
        max_rows_per_person=2,
    )
    table = clinic.table("health")
    left: float = table.epsilon_left
    assert left >= 0
    job = clf.Job(name="noised", inputs=[table], operation=operation, enclave="00" * 32)
    cost: float = clf.dry_run(job).epsilon
    assert cost
    return job


def run_as_analyst(job: clf.Job) -> pd.DataFrame:
    submission: clf.Submission = clf.submit(job).wait()
    assert submission
    run: clf.Run = clf.run(job, wait=False)
    result: clf.Result = clf.fetch(run, wait=True)
    table: pa.Table = result.to_arrow("coefficients")
    axes: Axes = result.plot("coefficients", kind="forest")
    axes.set_title(result.summary())
    receipt: clf.VerifiedReceipt = result.receipt
    receipt.save("receipt.json")
    again: clf.VerifiedReceipt = clf.verify("receipt.json", run=run.id, job=job.digest)
    assert again.run == receipt.run
    assert table.num_rows
    return result.to_pandas("coefficients")


def try_with_simulated_owners() -> None:
    with clf.testing.cluster(owners=3) as cluster:
        names: list[str] = list(cluster.owners)
        assert names == ["owner-1", "owner-2", "owner-3"]
        policy: clf.Policy = cluster.policy(["glm", "describe"], smallest_group=5)
        assert policy.smallest_group == 5


def look_around(clinic: clf.Connection, frame: pd.DataFrame, run: clf.Run) -> list[str]:
    views = [
        clf.inbox(clinic),
        clf.release_review(clinic),
        clf.audit_view(clinic),
        clf.monitor(run),
    ]
    editor = clf.policy_editor(frame, enclave=clf.EnclavePolicy(mrenclave="00" * 32))
    chosen: clf.Policy = editor.policy
    builder = clf.job_builder(clinic, enclave="00" * 32)
    built: clf.Job | None = builder.job
    catalogue = clf.catalogue(clinic)
    table: clf.SharedTable = catalogue["clinic", "health"]
    return [str(view) for view in [*views, editor, builder, catalogue, chosen, built, table]]


def fail(clinic: clf.Connection) -> str | None:
    try:
        clinic.drop("health")
    except clf.ClfError as error:
        code: str = error.code
        hint: str | None = error.hint
        return hint or code
    return None
