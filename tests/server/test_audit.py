from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

import clf_sdk as clf
from clf_sdk.audit import Checkpoint, Frontier, leaf_hash
from clf_sdk.errors import ConfigurationError
from clf_sdk.protocol import AuditEntry, canonical_json, parse_json
from clf_testing import HandmadeEnclave, LocalServer


def entries(local: LocalServer) -> list[AuditEntry]:
    """Return the log as it lies on the disk, after checking it against its checkpoint."""
    rows = local.sql('SELECT entry FROM audit_entries ORDER BY "index"')
    ((note,),) = local.sql("SELECT note FROM audit_head")
    checkpoint = Checkpoint.verify(note, public_key=local.state.identity.public_bytes)
    tree = Frontier()
    for (entry,) in rows:
        tree.append(leaf_hash(entry))
    assert (tree.size, tree.root) == (checkpoint.size, checkpoint.root)
    return [AuditEntry.parse(parse_json(entry, what="entry")) for (entry,) in rows]


def events(local: LocalServer) -> list[str]:
    return [entry.event for entry in entries(local)]


def test_entry_is_canonical_numbered_and_says_when_and_in_which_mode(local: LocalServer) -> None:
    local.clock.now = 1234.9
    assert [local.state.audit.append("table.shared", {"table": t}) for t in "ab"] == [0, 1]
    first, second = entries(local)
    assert first.to_json() == {
        "clf": 1,
        "type": "audit-entry",
        "index": 0,
        "time": 1234,
        "mode": "simulation",
        "event": "table.shared",
        "request": None,
        "details": {"table": "a"},
    }
    assert second.index == 1
    ((stored,), *_) = local.sql('SELECT entry FROM audit_entries ORDER BY "index"')
    assert stored == canonical_json(first.to_json())


def test_decision_and_entry_are_one_transaction(local: LocalServer) -> None:
    metadata, audit = local.state.metadata, local.state.audit

    def decide(statement: str, outcome: int) -> float:
        with metadata.transaction() as connection:
            connection.execute(sa.text(statement))
            audit.append("policy.changed", {}, connection=connection)
            return 1 / outcome

    decide("CREATE TABLE decision (id INTEGER)", 1)
    with pytest.raises(ZeroDivisionError):
        decide("INSERT INTO decision VALUES (1)", 0)
    assert local.sql("SELECT COUNT(*) FROM decision") == [(0,)]
    assert [entry.index for entry in entries(local)] == [0]


def test_appends_of_many_threads_and_processes_do_not_lose_each_other(local: LocalServer) -> None:
    other = LocalServer.__new__(LocalServer)  # a second process's view of the same directory
    vars(other).update(vars(local))
    other.restart()
    logs = [local.state.audit, other.state.audit]
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda n: logs[n % 2].append("table.shared", {"n": n}), range(80)))
    other.close()
    assert sorted(numbers) == list(range(80))
    assert sorted(entry.details["n"] for entry in entries(local)) == list(range(80))


def test_large_details_are_kept_as_a_digest(local: LocalServer) -> None:
    details = {"columns": ["c" * 1000] * 100}
    local.state.audit.append("table.shared", details)
    (entry,) = entries(local)
    assert set(entry.details) == {"omitted_bytes", "sha256"}
    assert entry.details["omitted_bytes"] == len(canonical_json(details))


@pytest.mark.parametrize(
    "tampering",
    [
        'DELETE FROM audit_entries WHERE "index" = 4',
        'UPDATE audit_entries SET "index" = 7 WHERE "index" = 4',
        "UPDATE audit_nodes SET hash = (SELECT a.hash FROM audit_nodes a WHERE a.position = 0)",
        "DELETE FROM audit_nodes",
        "UPDATE audit_head SET note = replace(note, '\n5\n', '\n4\n')",
    ],
)
def test_server_does_not_start_on_a_log_that_was_tampered_with(
    local: LocalServer, tampering: str
) -> None:
    for number in range(5):
        local.state.audit.append("table.shared", {"n": number})
    local.close()
    local.sql(tampering)
    with pytest.raises(ConfigurationError, match="audit log"):
        local.restart()


def test_log_of_another_identity_is_refused(local: LocalServer) -> None:
    local.state.audit.append("server.started", {})
    local.close()
    (local.directory / "identity.key").write_bytes(b"\1" * 32)
    with pytest.raises(ConfigurationError, match="audit log"):
        local.restart()


def test_life_of_a_table_stands_in_the_log(
    local: LocalServer, numbers: pa.Table, policy: clf.Policy
) -> None:
    first = local.upload("plans", numbers, policy)
    wider = clf.Policy(enclave=policy.enclave, operations=["glm", "kmeans"])
    second = local.upload("plans", numbers.slice(2), wider, widen=True)
    assert local.control.delete("/v1/tables/plans", headers=local.bearer()).status_code == 204
    log = entries(local)
    assert [entry.event for entry in log] == [
        "table.shared",
        "table.shared",
        "policy.changed",
        "table.dropped",
    ]
    shared, replaced, changed, dropped = (entry.details for entry in log)
    assert shared["version"] == first["version"]
    assert shared["replaces"] is None
    assert changed["before"] == shared["policy"] != changed["policy"]
    assert changed["wider"] == ["operations"]
    assert changed["tighter"] == ["runs", "smallest_group", "approval"]
    assert (replaced["version"], replaced["replaces"]) == (second["version"], first["version"])
    assert dropped == {"table": "plans", "version": second["version"]}
    assert all(entry.request for entry in log)


@pytest.mark.embedded("asks SQLite how it syncs")
def test_commit_is_durable_even_if_the_power_fails_right_after_it(local: LocalServer) -> None:
    with local.state.metadata.transaction() as connection:
        modes = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("synchronous", "journal_mode")
        ]
    assert modes == [3, "wal"]  # EXTRA: the log is synced at each commit


@pytest.mark.embedded("fills SQLite's file")
def test_what_can_not_be_logged_is_not_decided(enclave: HandmadeEnclave) -> None:
    server = enclave.server
    server.agree(enclave.job)
    enclave.agreed = False
    before = entries(server)
    ((pages,),) = server.sql("PRAGMA page_count")
    engine = server.state.metadata._engine

    def no_space_left(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute(f"PRAGMA max_page_count={pages}")

    engine.dispose()
    sa.event.listen(engine, "connect", no_space_left)
    granted = 0
    while (answer := enclave.ask()).status_code == 200:  # what is left of the last pages
        granted += 1
    assert (answer.status_code, answer.json()["code"]) == (507, "storage_full")
    assert "nothing was decided" in answer.json()["hint"]
    added = [entry.event for entry in entries(server)[len(before) :]]
    assert added == ["session.granted"] * granted


def test_granted_session_stands_in_the_log(enclave: HandmadeEnclave) -> None:
    session = enclave.open().session
    entry = entries(enclave.server)[-1]
    assert entry.event == "session.granted"
    assert entry.details == {
        "session": session.session,
        "run": enclave.run,
        "number": 1,
        "resumed": False,
        "job": enclave.job.digest,
        "mrenclave": "ab" * 32,
        "mrsigner": enclave.simulation.platform.mrsigner,
        "isv_prod_id": 1,
        "isv_svn": 1,
        "tcb_status": "UpToDate",
        "inputs": [
            {
                "table": "plans",
                "version": session.inputs[0].version,
                "source": None,
                "columns": 3,
            }
        ],
        "secrets": [],
    }


def test_refused_session_stands_in_the_log_with_reason_and_measurement(
    enclave: HandmadeEnclave,
) -> None:
    answer = enclave.ask(run="ee" * 16, job="00" * 32)
    assert answer.status_code == 403
    entry = entries(enclave.server)[-1]
    assert entry.event == "session.refused"
    assert entry.request == answer.json()["request_id"]
    assert entry.details["code"] == "binding_mismatch"
    assert entry.details["reason"] == answer.json()["detail"]
    assert entry.details["mrenclave"] == "ab" * 32
    assert entry.details["offered"]["mrsigner"] == enclave.simulation.platform.mrsigner
    assert (entry.details["job"], entry.details["run"]) == (enclave.job.digest, "ee" * 16)


@pytest.mark.parametrize("evidence", [{}, {"quote": "AAAA"}])
def test_refused_session_without_readable_evidence_offers_nothing(
    enclave: HandmadeEnclave, evidence: dict[str, Any]
) -> None:
    assert enclave.post(evidence).status_code == 400
    entry = entries(enclave.server)[-1]
    assert (entry.details["code"], entry.details["mrenclave"]) == ("malformed", None)
    assert entry.details["offered"] is None


def test_refused_token_stands_in_the_log_and_the_token_does_not(local: LocalServer) -> None:
    guess = "a-guessed-token"
    headers = {"Authorization": f"Bearer {guess}"}
    assert local.control.get("/v1/tables", headers=headers).status_code == 401
    analyst = local.control.delete("/v1/tables/t", headers=local.bearer("analyst"))
    assert analyst.status_code == 401
    log = entries(local)
    assert [entry.event for entry in log] == ["token.refused"] * 2
    assert log[1].details["reason"] == "an analyst token may not do this"
    assert log[1].details["path"] == "/v1/tables/t"
    assert guess not in str([entry.to_json() for entry in log])


@pytest.mark.embedded("each replica has a limit of its own")
def test_flood_of_refused_sessions_does_not_fill_the_disk(enclave: HandmadeEnclave) -> None:
    server = enclave.server
    for _ in range(130):
        assert enclave.post({}).status_code == 400
    before = entries(server)
    assert [entry.event for entry in before].count("session.refused") == 100

    enclave.ask(job="00" * 32)  # counted, too
    server.clock.now += 300
    server.monotonic.now += 300
    enclave.post({})
    *_, summary = log = entries(server)
    assert len(log) == len(before) + 1
    assert summary.details == {
        "count": 31,
        "since": before[-1].time,
        "causes": [
            {"code": "malformed", "mrenclave": None, "count": 30},
            {"code": "binding_mismatch", "mrenclave": "ab" * 32, "count": 1},
        ],
        "others": 0,
    }
    server.state.refusals.flush()
    assert len(entries(server)) == len(log)
    server.state.refusals.flush(at_end=True)
    assert entries(server)[-1].details["count"] == 1


def test_flood_with_ever_new_measurements_is_counted_in_bounded_memory(local: LocalServer) -> None:
    for number in range(300):
        local.state.refusals.record("session.refused", {}, cause={"mrenclave": f"{number:064x}"})
    local.state.refusals.flush(at_end=True)
    details = entries(local)[-1].details
    assert details["count"] == 200
    assert len(details["causes"]) == 32
    assert details["others"] == 168


def test_refusals_leave_room_after_a_quiet_time(local: LocalServer) -> None:
    for _ in range(101):
        local.state.refusals.record("token.refused", {}, cause={"client": "x"})
    local.monotonic.now += 86400
    local.state.refusals.record("token.refused", {"path": "/"}, cause={"client": "y"})
    summary, last = entries(local)[-2:]
    assert summary.details["count"] == 1
    assert last.details == {"client": "y", "path": "/"}
