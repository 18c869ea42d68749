"""An owner of the demonstration: shares its table, approves the job, and releases the result."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import clf_sdk as clf
from clf_sdk.errors import NotFound
from people import table_of

EXCHANGE = Path("/exchange")
PATIENCE_SECONDS = 180.0


def say(event: str, **details: Any) -> None:
    """Print one line of JSON."""
    print(json.dumps({"event": event, **details}), flush=True)


def wait_for(look: Callable[[], Sequence[Any]], what: str) -> Sequence[Any]:
    """Look again and again until there is something."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := look()):
        if time.monotonic() > deadline:
            sys.exit(f"no {what} came in time")
        time.sleep(0.5)
    return found


def receipt_of(connection: clf.Connection, run: str) -> bytes:
    """Return the receipt of a run, or nothing while there is none."""
    try:
        return connection.receipt(run)
    except NotFound:
        return b""


def main(owner: str) -> None:
    """Play the owner's part, from sharing to release."""
    # An owner pins the program that it has reviewed.
    program = clf.EnclavePolicy(mrenclave=(EXCHANGE / "public" / "mrenclave").read_text().strip())
    connection = clf.connect(EXCHANGE / "owner" / "owner.profile.json")
    table = clf.share(
        table_of(owner),
        name="people",
        policy=clf.Policy(enclave=program, operations=["glm"], release="review"),
        to=connection,
        progress=False,
    )
    say("shared", owner=owner, rows=table.rows, version=table.version)

    pending = wait_for(
        lambda: [request for request in clf.requests(connection) if request.state == "pending"],
        "job",
    )
    pending[0].show()
    pending[0].approve(runs=1)
    say("approved", owner=owner, job=pending[0].digest)

    def arrived() -> list[clf.Release]:
        return [
            output
            for output in clf.releases(connection)
            if output.status == "pending" and output.job == pending[0].digest
        ]

    # The receipt comes after all outputs; with it come shape, size and report of each.
    run = wait_for(arrived, "result")[0].run
    wait_for(lambda: receipt_of(connection, run), "receipt")
    held = arrived()
    for output in held:
        output.report_lines()
        output.approve("aggregates over all people")
    say("released", owner=owner, outputs=[output.output for output in held])


if __name__ == "__main__":
    main(os.environ["CLF_DEMO_OWNER"])
