"""The analyst of the demonstration: one regression over the joined tables of two owners."""

from __future__ import annotations

import time
from pathlib import Path

import clf_sdk as clf
from clf_sdk.errors import NotFound, ReleasePending
from owner import EXCHANGE, PATIENCE_SECONDS, say, wait_for

OWNERS = ("clinic", "hospital")


def table_when_shared(connection: clf.Connection) -> clf.SharedTable:
    """Wait until an owner has shared its table."""

    def look() -> list[clf.SharedTable]:
        try:
            return [connection.table("people")]
        except NotFound:
            return []

    table: clf.SharedTable = wait_for(look, "table")[0]
    return table


def fetch_when_released(
    run: clf.Run,
    connections: list[clf.Connection],
    identity: clf.Identity,
    anchor: clf.TrustAnchor,
) -> clf.Result:
    """Wait until every owner has released the result."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return clf.fetch(run, connections=connections, identity=identity, anchor=anchor)
        except ReleasePending as pending:
            if time.monotonic() > deadline:
                raise
            say("waiting", for_whom=pending.message)
            time.sleep(0.5)


def main() -> None:
    """Submit the job, run it in the enclave, and print what it found."""
    identity = clf.Identity.load("/work/analyst.identity.json")
    connections = [
        clf.connect(EXCHANGE / "analyst" / owner / "analyst.profile.json") for owner in OWNERS
    ]
    tables = {
        owner: table_when_shared(connection)
        for owner, connection in zip(OWNERS, connections, strict=True)
    }
    program = clf.EnclavePolicy(mrenclave=(EXCHANGE / "public" / "mrenclave").read_text().strip())
    job = clf.Job(
        name="cost-of-care",
        purpose="How do age and blood pressure explain the cost of care?",
        inputs=tables,
        on="person",
        operation=clf.GLM(outcome="cost", predictors=["pressure", "age"], family="gaussian"),
        enclave=program,
        analyst=identity,
    )
    submission = clf.submit(job, identity=identity, connections=connections)
    say("submitted", job=job.digest)
    wait_for(lambda: ["all"] if submission.refresh().approved else [], "approval")

    run = clf.run(job, enclave="http://enclave:4490", progress=False)
    anchor = clf.TrustAnchor.insecure_simulation(EXCHANGE / "public" / "anchor.pem")
    result = fetch_when_released(run, connections, identity, anchor)
    receipt = Path("/tmp/receipt.json")  # noqa: S108 - memory of this container alone
    result.receipt.save(receipt)
    clf.verify(receipt, anchor=anchor, policy=program, job=job.digest)
    frame = result.to_pandas("coefficients")
    say(
        "fetched",
        mode=result.mode,
        rows=int(result.to_pandas("fit")["rows"].iloc[0]),
        coefficients=dict(zip(frame["term"], map(float, frame["coefficient"]), strict=True)),
    )


if __name__ == "__main__":
    main()
