"""Servers that are killed or stopped: the log has every decision, whole, and no other."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

import clf_sdk as clf
import clf_testing
from clf_sdk._server_process import ServerProcess
from clf_sdk.audit import RemoteLog
from clf_sdk.errors import AccessDenied, ClfError
from clf_sdk.protocol import TableList, digest
from clf_server._refusals import BURST
from clf_testing._dying import open_log


def test_killed_at_any_statement_leaves_no_torn_entry(tmp_path: Path) -> None:
    database = tmp_path / "metadata.sqlite"
    support = str(Path(clf_testing.__path__[0]).parent)
    killed = subprocess.run(
        [sys.executable, "-m", "clf_testing._dying", str(database)],
        env=os.environ | {"PYTHONPATH": support},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert int(killed) >= 13  # before and after each of six statements, and at the commit
    metadata, log = open_log(database)
    assert (log.checkpoint().size, len(log.entries(0, 10))) == (1, 1)
    metadata.close()
    connection = sqlite3.connect(database)
    assert connection.execute("SELECT n FROM decisions").fetchall() == [(int(killed) + 1,)]
    connection.close()


def test_killed_at_any_moment_keeps_every_decision_that_was_told(
    make_server: Callable[..., ServerProcess], numbers: pa.Table, policy: clf.Policy
) -> None:
    server = make_server("owner")
    policies = [
        policy,
        clf.Policy(enclave=policy.enclave, operations=["glm", "kmeans"]),
    ]
    connection = clf.connect(server.owner)
    clf.share(numbers, name="t", policy=policies[0], to=connection)
    told = 1
    for kills in range(1, 3):
        enough = threading.Event()

        def kill(reached: threading.Event = enough) -> None:
            reached.wait()
            server.kill()

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            for decision in range(1000):
                chosen = policies[told % 2]
                clf.share(numbers, name="t", policy=chosen, to=connection)
                told += 1
                if decision == kills:
                    enough.set()
        except ClfError:
            enough.set()
        killer.join()
        connection.close()

        server.start()
        connection = clf.connect(server.owner)
        log = RemoteLog(connection.http, connection.server)
        entries = [entry for entry in log.tail(10_000) if entry.event != "server.started"]
        assert log.verify().checkpoint.size == len(entries) + kills + 1
        decided = [entry for entry in entries if entry.event == "table.shared"]
        # One may have been decided and not told; each but the first changes the policy, too.
        assert told <= len(decided) <= told + 1
        assert [entry.event for entry in entries[1:]] == [
            "table.shared",
            "policy.changed",
        ] * (len(decided) - 1)
        (table,) = connection.http.ask(TableList, "GET", "/v1/tables").tables
        assert digest(table.policy) == decided[-1].details["policy"]
        told = len(decided)
    connection.close()


def test_stopped_server_logs_the_refusals_that_it_only_counted(
    make_server: Callable[..., ServerProcess],
) -> None:
    server = make_server("owner")
    stranger = clf.connect(server.owner.model_copy(update={"token": "guessed"}))
    for _ in range(BURST + 7):
        with pytest.raises(AccessDenied):
            stranger.http.send("GET", "/v1/tables")
    stranger.close()
    server.stop()

    server.start()
    connection = clf.connect(server.owner)
    log = connection.audit()
    connection.close()
    assert list(log.event) == ["server.started", *["token.refused"] * (BURST + 1), "server.started"]
    summary = log.details.iloc[-2]
    assert (summary["count"], summary["causes"][0]["client"]) == (7, "127.0.0.1")
