from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from clf_sdk.audit import Checkpoint, RemoteLog
from clf_sdk.audit._seen import seen_path
from clf_sdk.errors import LogAltered, LogInconsistent, Malformed, NotFound, TokenRefused
from clf_testing import LocalServer


def tamper(local: LocalServer, statement: str, *values: int) -> None:
    connection = sqlite3.connect(local.directory / "metadata.sqlite")
    with connection:
        connection.execute(statement, values)
    connection.close()


@pytest.mark.parametrize("count", range(1, 13))
def test_newest_entries_are_verified_without_the_others(
    filled: LocalServer, log: RemoteLog, count: int
) -> None:
    tamper(filled, 'DELETE FROM audit_entries WHERE "index" < ?', 11 - count)
    entries = log.tail(count)
    assert [entry.index for entry in entries] == list(range(max(0, 11 - count), 11))


@pytest.mark.parametrize("index", [7, 10])
def test_edited_entry_is_noticed_by_whoever_looks(
    filled: LocalServer, log: RemoteLog, index: int
) -> None:
    edit = (
        "UPDATE audit_entries SET entry = CAST(replace(entry, 'table', 'taple') AS BLOB) "
        'WHERE "index" = ?'
    )
    tamper(filled, edit, index)
    for look in (lambda: log.tail(4), log.verify):
        with pytest.raises(LogAltered):
            look()


def test_dropped_entry_is_noticed(filled: LocalServer, log: RemoteLog, tmp_path: Path) -> None:
    tamper(filled, 'DELETE FROM audit_entries WHERE "index" = 5')
    with pytest.raises(LogAltered):
        log.verify()
    with pytest.raises(LogAltered):
        log.export(tmp_path / "log.jsonl")
    assert list(tmp_path.glob("*log.jsonl*")) == []


def test_cut_log_is_noticed(filled: LocalServer, log: RemoteLog) -> None:
    tamper(filled, 'DELETE FROM audit_entries WHERE "index" > 8')
    with pytest.raises(Malformed, match="empty"):
        log.tail(5)


def test_server_does_not_continue_a_log_that_was_tampered_with(filled: LocalServer) -> None:
    tamper(filled, "UPDATE audit_nodes SET hash = zeroblob(32) WHERE position = 7")
    with pytest.raises(LogAltered):
        filled.state.audit.append("table.shared", {})


def test_rolled_back_database_is_noticed_by_whoever_saw_a_later_one(
    filled: LocalServer, log: RemoteLog
) -> None:
    database = filled.directory / "metadata.sqlite"
    filled.close()  # until then, the newest entries lie in the write-ahead log
    before = database.read_bytes()
    filled.restart()
    filled.state.audit.append("session.granted", {})
    log.tail(1)
    filled.close()
    database.write_bytes(before)
    filled.restart()  # the server itself can not notice
    for _ in range(2):
        with pytest.raises(LogInconsistent, match="has 11 entries, and had 12"):
            log.tail(1)
    filled.state.audit.append("session.refused", {})  # as many entries as before, another history
    filled.state.audit.append("session.refused", {})
    for look in (lambda: log.tail(1), log.verify):
        with pytest.raises(LogInconsistent, match="does not continue"):
            look()


def test_rewritten_log_is_noticed(filled: LocalServer, log: RemoteLog) -> None:
    log.verify()
    tamper(filled, "DELETE FROM audit_entries")
    tamper(filled, "DELETE FROM audit_nodes")
    tamper(filled, "DELETE FROM audit_head")
    filled.close()
    filled.restart()
    for _ in range(11):
        filled.state.audit.append("table.shared", {})
    with pytest.raises(LogInconsistent):
        log.verify()


def test_continued_log_is_believed(filled: LocalServer, log: RemoteLog) -> None:
    for more in (0, 1, 2, 5, 13):
        for _ in range(more):
            filled.state.audit.append("table.shared", {})
        assert log.verify().checkpoint.size == log.tail(1)[0].index + 1
    assert f"\n{11 + 21}\n" in seen_path(filled.server_id).read_text()


def test_log_that_was_empty_may_grow(local: LocalServer, log: RemoteLog) -> None:
    assert log.tail(5) == []
    assert log.verify().events == {}
    local.state.audit.append("server.started", {})
    assert [entry.event for entry in log.tail(5)] == ["server.started"]


def test_log_of_many_pages(local: LocalServer, log: RemoteLog) -> None:
    with local.state.metadata.transaction() as connection:
        for number in range(1100):
            local.state.audit.append("table.shared", {"n": number}, connection=connection)
    assert log.verify().checkpoint.size == 1100
    assert [entry.details["n"] for entry in log.tail(1050)] == list(range(50, 1100))


def test_damaged_memory_is_named(filled: LocalServer, log: RemoteLog) -> None:
    log.tail(1)
    seen_path(filled.server_id).write_text("not a checkpoint")
    with pytest.raises(Malformed, match="does not hold a checkpoint"):
        log.tail(1)


def test_only_the_owner_may_look(filled: LocalServer) -> None:
    for path in ("checkpoint", "entries", "inclusion?index=0&size=1", "consistency"):
        answer = filled.control.get(f"/v1/audit/{path}", headers=filled.bearer("analyst"))
        assert answer.json()["code"] == TokenRefused.code
        answer = filled.control.get(f"/v1/audit/{path}")
        assert answer.json()["code"] == TokenRefused.code


def test_routes_refuse_what_the_log_does_not_have(filled: LocalServer) -> None:
    for path, code in (
        ("inclusion?index=11&size=11", NotFound.code),
        ("inclusion?index=3&size=3", NotFound.code),
        ("inclusion?index=0&size=12", NotFound.code),
        ("consistency?first=5&second=4", NotFound.code),
        ("consistency?first=5&second=12", NotFound.code),
        ("consistency?first=-1&second=2", Malformed.code),
        (f"inclusion?index=0&size={1 << 60}", Malformed.code),
        ("entries?start=-1", Malformed.code),
        ("entries?limit=0", Malformed.code),
        ("entries?limit=1001", Malformed.code),
        ("entries?start=x", Malformed.code),
    ):
        answer = filled.control.get(f"/v1/audit/{path}", headers=filled.bearer())
        assert (path, answer.json()["code"]) == (path, code)
    empty = filled.control.get("/v1/audit/entries?start=11", headers=filled.bearer())
    assert (empty.status_code, empty.content) == (200, b"")


def test_page_ends_where_it_would_grow_too_large(local: LocalServer, log: RemoteLog) -> None:
    with local.state.metadata.transaction() as connection:
        for _ in range(200):
            local.state.audit.append("table.shared", {"x": "y" * 60_000}, connection=connection)
    page = local.control.get("/v1/audit/entries", headers=local.bearer())
    assert 7 << 20 < len(page.content) <= 8 << 20
    assert page.headers["content-type"] == "application/jsonl"
    assert log.verify().checkpoint.size == 200


def test_checkpoint_route_says_who_signed(filled: LocalServer) -> None:
    answer = filled.control.get("/v1/audit/checkpoint", headers=filled.bearer()).json()
    checkpoint = Checkpoint.verify(
        answer["checkpoint"], public_key=filled.state.identity.public_bytes
    )
    assert checkpoint.size == 11
