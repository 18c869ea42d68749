"""A program whose processes are killed at every statement of a decision, one after the other.

Run it as ``python -m clf_testing._dying DATABASE``. Each process decides something and logs it in
one transaction, and dies by SIGKILL before or after its n-th statement; the last one survives.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from clf_sdk.keys import SigningKey
from clf_server._audit import AuditLog
from clf_server._database import sqlite_url
from clf_server._metadata import Metadata
from clf_server._migrate import migrate

IDENTITY = SigningKey(bytes(range(32)))
SURVIVED = 0


def open_log(path: Path) -> tuple[Metadata, AuditLog]:
    """Open the log as a server does when it starts, which checks it."""
    metadata = Metadata(sqlite_url(path))
    return metadata, AuditLog(metadata, lambda _: IDENTITY, mode="simulation", now=lambda: 1)


def _decide(path: Path, last_statement: int) -> None:
    metadata, log = open_log(path)
    left = last_statement

    def count(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    for event in ("before_cursor_execute", "after_cursor_execute", "commit"):
        sa.event.listen(metadata._engine, event, count)
    with metadata.transaction() as connection:
        connection.execute(sa.text("INSERT INTO decisions VALUES (:n)"), {"n": last_statement})
        log.append("policy.changed", {"n": last_statement}, connection=connection)
    os._exit(SURVIVED)


def main(path: Path) -> None:
    """Decide until a process survives, and print how many did not."""
    migrate(sqlite_url(path))
    metadata, _ = open_log(path)
    with metadata.transaction() as connection:
        connection.execute(sa.text("CREATE TABLE decisions (n INTEGER)"))
    metadata.close()
    for number in itertools.count(1):
        child = os.fork()
        if child == 0:
            _decide(path, number)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status == SURVIVED:
            sys.stdout.write(f"{number - 1}\n")
            return
        if status != -signal.SIGKILL:
            raise RuntimeError(f"a process ended with {status}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
