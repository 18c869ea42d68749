"""The enclave app's session and pull, in a process of its own: ``REQUEST SIMULATION``."""

from __future__ import annotations

import secrets
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks._data import fingerprint
from benchmarks._process import serve_lines
from clf_enclave._program import load_request, make_provider
from clf_enclave._pull import TablePull
from clf_enclave._session import RunIdentity, open_session
from clf_sdk.keys import PrivateKey, SigningKey


def main() -> None:
    """Pull the job's one table each time it is asked to."""
    request = load_request(Path(sys.argv[1]))
    identity = RunIdentity(
        run=request.run,
        job=request.job,
        hpke=PrivateKey.generate(),
        signing=SigningKey.generate(),
        provider=make_provider(Path(sys.argv[2])),
    )
    (endpoint,) = request.endpoints
    (entry,) = request.job.inputs

    def handle(asked: dict[str, Any]) -> dict[str, Any]:
        run = replace(identity, run=secrets.token_hex(16))  # a run keeps to one dataset version
        started = time.perf_counter()
        session = open_session(run, endpoint)
        opened = time.perf_counter()
        table = TablePull(entry.name, session, lambda: open_session(run, endpoint)).table()
        ended = time.perf_counter()
        answer = {
            "seconds": ended - started,
            "session_seconds": opened - started,
            "kept_bytes": table.get_total_buffer_size(),
        }
        if asked.get("verify"):
            answer["fingerprint"] = fingerprint(table)
        del table
        return answer

    serve_lines({}, handle)


if __name__ == "__main__":
    main()
