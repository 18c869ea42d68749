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

    held = wait_for(
        lambda: [
            output
            for output in clf.releases(connection)
            if output.status == "pending" and output.job == pending[0].digest
        ],
        "result",
    )
    # All outputs of a run arrive at once; what is shown of them is shape, size and report.
    for output in held:
        output.report_lines()
        output.approve("aggregates over all people")
    say("released", owner=owner, outputs=[output.output for output in held])


if __name__ == "__main__":
    main(os.environ["CLF_DEMO_OWNER"])
