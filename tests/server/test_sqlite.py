from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa

import clf_sdk as clf
from clf_server._database import sqlite_url
from clf_server._metadata import Metadata
from clf_server._migrate import migrate
from clf_testing import LocalServer


def _refuse_mappings(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no shared mappings here")

    monkeypatch.setattr("mmap.mmap", refuse)


def _make(path: Path) -> Metadata:
    migrate(sqlite_url(path))
    return Metadata(sqlite_url(path))


def _modes(metadata: Metadata) -> tuple[str, int]:
    with metadata.transaction() as connection:
        journal = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
        return str(journal), int(connection.exec_driver_sql("PRAGMA synchronous").scalar() or 0)


def test_commits_are_synced_in_either_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = 3  # synced at each commit; with the older journal its directory, too
    with contextlib.closing(_make(tmp_path / "a.sqlite")) as metadata:
        assert _modes(metadata) == ("wal", extra)
    _refuse_mappings(monkeypatch)
    with contextlib.closing(_make(tmp_path / "b.sqlite")) as metadata:
        assert _modes(metadata) == ("delete", extra)


def test_log_that_another_machine_left_is_read_where_nothing_can_be_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "metadata.sqlite"
    _make(path).close()
    with contextlib.closing(sqlite3.connect(path)) as writer:
        writer.execute("CREATE TABLE kept (x)")
        writer.execute("INSERT INTO kept VALUES (7)")
        writer.commit()
        left = {file.name: file.read_bytes() for file in tmp_path.glob("metadata.sqlite*")}
    assert left["metadata.sqlite-wal"]
    for name, content in left.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "metadata.sqlite-shm").unlink()
    _refuse_mappings(monkeypatch)
    with contextlib.closing(Metadata(sqlite_url(path))) as metadata:
        assert _modes(metadata)[0] == "delete"
        with metadata.reading() as connection:
            assert connection.execute(sa.text("SELECT x FROM kept")).scalar() == 7
    assert not (tmp_path / "metadata.sqlite-wal").exists()


def test_destroyed_key_is_in_no_file_of_a_running_server(
    local: LocalServer, numbers: pa.Table, policy: clf.Policy
) -> None:
    local.upload("t", numbers, policy)
    keys = []
    for replace in (True, False):
        key = local.state.metadata.table("t").current.table_key
        assert key.encode() in local.database_bytes()
        keys.append(key)
        if replace:
            local.upload("t", numbers.slice(1), policy)
        else:
            local.control.delete("/v1/tables/t", headers=local.bearer())
        for each in keys:
            assert each.encode() not in local.database_bytes()
