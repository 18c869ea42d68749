"""Rows that a filter keeps back are in nothing that a session opens (docs/protocol.md §8.2)."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_sdk import filters
from clf_sdk.errors import KeyNotGranted, NotReady, SealBroken, StorageFull
from clf_sdk.filters import FilterRun, RowFilter
from clf_sdk.policy import RULES
from clf_sdk.protocol import SessionAnswer
from clf_sdk.sealed import open_manifest, open_table
from clf_server import _derived
from clf_server._database import SCHEMA
from clf_server._derived import DerivedVersions
from clf_server._metadata import StoredTable, Version
from clf_server._tickets import LIFETIME_SECONDS
from clf_server._vault import Vault
from clf_testing import HandmadeEnclave, LocalServer, Simulation, job_input, make_job

COUNT = 3000


def changed(policy: clf.Policy, **changes: Any) -> clf.Policy:
    fields = {rule.name: getattr(policy, rule.name) for rule in RULES}
    return clf.Policy(**(fields | changes))


@pytest.fixture
def people() -> pa.Table:
    return pa.table(
        {
            "id": pa.array(range(COUNT), pa.int64()),
            "age": pa.array([number % 90 for number in range(COUNT)], pa.int8()),
            "country": pa.array(["DE", "FR", None] * (COUNT // 3)).dictionary_encode(),
            "note": [f"note-of-{number}" for number in range(COUNT)],
        }
    )


FILTER = "age >= 18 AND country = 'DE'"


def leaves(row: dict[str, Any]) -> bool:
    return bool(row["age"] >= 18 and row["country"] == "DE")


@pytest.fixture
def server(local: LocalServer, people: pa.Table, policy: clf.Policy) -> LocalServer:
    """Table ``t`` in several row groups, under a policy that filters its rows."""
    local.upload("t", people, changed(policy, rows=FILTER), target_bytes=16 << 10)
    assert local.state.metadata.table("t").current.row_groups > 3
    return local


@pytest.fixture
def ask(simulation: Simulation, server: LocalServer) -> Callable[..., HandmadeEnclave]:
    def make(*columns: str) -> HandmadeEnclave:
        entry = job_input(server.server_id, "t", columns=list(columns) or None)
        return HandmadeEnclave(simulation, server, make_job([entry]))

    return make


def pull(enclave: HandmadeEnclave, answer: SessionAnswer) -> tuple[pa.Table, bytes]:
    """Open all that the session opens, and return it with the ciphertext as it came."""
    (granted,) = answer.session.inputs
    keys = enclave.keys(answer).inputs["t"]
    headers = {"Authorization": f"CLF-Ticket {answer.access.blobs.ticket}"}
    received = []

    def get(name: str) -> bytes:
        path = f"/v1/blobs/{granted.version_id}/{name}"
        found = enclave.server.data.get(path, headers=headers)
        assert found.status_code == 200, found.text
        received.append(found.content)
        return bytes(found.content)

    manifest = open_manifest(
        get("manifest"),
        manifest_key=keys.manifest_key,
        table=granted.table,
        version_id=granted.version_id,
        expected_version=granted.version,
    )
    table = open_table(
        manifest, keys.columns, lambda name, start, stop: get(name)[start:stop], granted.columns
    )
    return table, b"".join(received)


def test_rows_that_should_not_leave_never_leave(
    server: LocalServer, people: pa.Table, ask: Callable[..., HandmadeEnclave]
) -> None:
    enclave = ask()
    answer = enclave.open()
    (granted,) = answer.session.inputs
    source = server.state.metadata.table("t").current
    assert granted.source == source.version != granted.version
    assert granted.version_id != source.version_id
    table, _ = pull(enclave, answer)
    assert table.to_pylist() == [row for row in people.to_pylist() if leaves(row)]
    assert table.schema.names == people.schema.names

    # Neither ticket nor keys open the version with all rows.
    headers = {"Authorization": f"CLF-Ticket {answer.access.blobs.ticket}"}
    for name in ("manifest", "0"):
        refused = server.data.get(f"/v1/blobs/{source.version_id}/{name}", headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (401, "ticket_refused")
    keys = enclave.keys(answer).inputs["t"]
    sealed = server.state.objects.read(source.version_id, "manifest")
    with pytest.raises(SealBroken):
        open_manifest(
            sealed,
            manifest_key=keys.manifest_key,
            table="t",
            version_id=source.version_id,
            expected_version=None,
        )
    whole = Vault(server.state.keks, server.state.objects).manifest(source)

    def fetch(name: str, start: int, stop: int) -> bytes:
        return server.state.objects.read(source.version_id, name)[start:stop]

    for column in people.schema.names:
        with pytest.raises(SealBroken):
            open_table(whole, keys.columns, fetch, [column])


def test_only_granted_columns_are_in_what_is_sealed(
    people: pa.Table, ask: Callable[..., HandmadeEnclave]
) -> None:
    enclave = ask("note", "id")
    answer = enclave.open()
    table, ciphertext = pull(enclave, answer)
    rows = [row for row in people.to_pylist() if leaves(row)]
    assert table.schema.names == ["note", "id"]
    assert table.to_pylist() == [{"note": row["note"], "id": row["id"]} for row in rows]
    (granted,) = answer.session.inputs
    manifest = open_manifest(
        enclave.server.state.objects.read(granted.version_id, "manifest"),
        manifest_key=enclave.keys(answer).inputs["t"].manifest_key,
        table="t",
        version_id=granted.version_id,
        expected_version=granted.version,
    )
    assert manifest.schema.names == ["id", "note"]
    with pytest.raises(KeyNotGranted):
        open_table(manifest, {}, lambda *_: b"", ["id"])
    assert b"note-of-" not in ciphertext


def test_nothing_plain_is_on_the_disk(
    server: LocalServer, ask: Callable[..., HandmadeEnclave]
) -> None:
    enclave = ask("id", "note")
    pull(enclave, enclave.open())
    for path in server.directory.rglob("*"):
        if path.is_file():
            assert b"note-of-" not in path.read_bytes(), path


def test_derived_version_is_kept_for_the_same_filter_and_columns(
    server: LocalServer, ask: Callable[..., HandmadeEnclave]
) -> None:
    first = ask("id", "note").open().session.inputs[0]
    before = server.stored()
    again = ask("note", "id").open().session.inputs[0]
    assert (again.version_id, again.version) == (first.version_id, first.version)
    assert again.columns == ["note", "id"]
    server.restart()
    assert ask("id", "note").open().session.inputs[0].version == first.version
    assert server.stored() == before
    other = ask("id").open().session.inputs[0]
    assert other.version_id != first.version_id
    assert server.stored() == before | {other.version_id}


def test_derived_versions_go_with_the_policy(
    server: LocalServer, policy: clf.Policy, ask: Callable[..., HandmadeEnclave]
) -> None:
    source = server.state.metadata.table("t").current.version_id
    enclave = ask("id")
    answer = enclave.open()
    derived = answer.session.inputs[0].version_id
    assert server.stored() == {source, derived}
    server.set_policy("t", changed(policy, rows=f"{FILTER} AND id < 100"))
    assert server.stored() == {source}
    database = server.database_bytes()
    assert derived.encode() not in database.replace(answer.session.session.encode(), b"")
    headers = {"Authorization": f"CLF-Ticket {answer.access.blobs.ticket}"}
    refused = server.data.get(f"/v1/blobs/{derived}/0", headers=headers)
    assert refused.json()["code"] == "ticket_refused"
    later = enclave.another(enclave.job)
    table, _ = pull(later, later.open())
    assert max(table["id"].to_pylist()) < 100


def test_policy_tightened_between_two_sessions_filters_the_second(
    server: LocalServer, people: pa.Table, policy: clf.Policy, ask: Callable[..., HandmadeEnclave]
) -> None:
    server.upload("t", people, policy, widen=True)
    enclave = ask("id", "age")
    everything, _ = pull(enclave, enclave.open())
    assert everything.num_rows == COUNT
    server.set_policy("t", changed(policy, rows="age < 10"))
    assert enclave.ask().json()["code"] == "run_refused"  # one run never mixes both
    later = enclave.another(enclave.job)
    second, _ = pull(later, later.open())
    assert set(second["age"].to_pylist()) == set(range(10))


@pytest.mark.parametrize("end", ["replace", "drop"])
def test_derived_versions_go_with_the_table(
    server: LocalServer,
    people: pa.Table,
    policy: clf.Policy,
    ask: Callable[..., HandmadeEnclave],
    end: str,
) -> None:
    derived = ask("id").open().session.inputs[0].version_id
    assert derived in server.stored()
    if end == "drop":
        server.control.delete("/v1/tables/t", headers=server.bearer())
        assert server.stored() == set()
    else:
        shared = server.upload("t", people.slice(1), changed(policy, rows=FILTER))
        assert server.stored() == {shared["version_id"]}
    assert server.state.metadata.derived(derived) == []
    assert derived not in server.state.metadata.visible_versions()


def test_job_may_pin_the_version_of_the_table(
    server: LocalServer, simulation: Simulation, ask: Callable[..., HandmadeEnclave]
) -> None:
    source = server.state.metadata.table("t").current.version
    derived = ask("id").open().session.inputs[0].version
    pinned, filtered = (
        make_job([job_input(server.server_id, "t", columns=["id"], version=version)])
        for version in (source, derived)
    )
    assert HandmadeEnclave(simulation, server, pinned).ask().status_code == 200
    assert server.submit(filtered).json()["code"] == "not_found"
    answer = HandmadeEnclave(simulation, server, filtered).ask()
    assert answer.json()["code"] == "job_not_approved"


def test_filter_may_keep_nothing_back_or_everything(
    server: LocalServer, people: pa.Table, policy: clf.Policy, ask: Callable[..., HandmadeEnclave]
) -> None:
    for rows, count in (("age > 100", 0), ("age >= 0", COUNT)):
        server.set_policy("t", changed(policy, rows=rows), widen=True)
        enclave = ask()
        table, _ = pull(enclave, enclave.open())
        assert table.num_rows == count
        assert table.schema.names == people.schema.names


def test_filter_that_can_not_be_computed_refuses_the_session_without_a_value(
    local: LocalServer, simulation: Simulation, policy: clf.Policy
) -> None:
    table = pa.table({"id": [1, 2], "n": pa.array([1, -(2**63)], pa.int64())})
    local.upload("t", table, changed(policy, rows="ABS(n) > 1"))
    job = make_job([job_input(local.server_id, "t")])
    answer = HandmadeEnclave(simulation, local, job).ask()
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_filter")
    assert "9223372036854775808" not in answer.text
    assert len(local.stored()) == 1


def test_many_sessions_at_once_derive_once(
    server: LocalServer, ask: Callable[..., HandmadeEnclave], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[str] = []

    class Counted(FilterRun):
        def __init__(self, row_filter: RowFilter, schema: pa.Schema) -> None:
            runs.append(row_filter.canonical)
            super().__init__(row_filter, schema)

    monkeypatch.setattr(filters, "FilterRun", Counted)
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: ask("id").open().session.inputs[0], range(8)))
    assert len({entry.version for entry in opened}) == 1
    assert set(runs) == {FILTER}
    assert len(runs) <= len(server.states)  # replicas may each begin; one of them is kept
    assert len(server.stored()) == 2


# -- who can write to the database ----------------------------------------------------------------


def test_whole_table_is_not_passed_off_as_what_the_filter_kept(
    server: LocalServer, ask: Callable[..., HandmadeEnclave]
) -> None:
    enclave = ask("id")
    derived = enclave.open().session.inputs[0].version_id
    source = server.state.metadata.table("t").current.version_id
    (row,) = server.sql("SELECT derivation FROM versions WHERE version_id = ?", derived)
    server.sql("DELETE FROM versions WHERE version_id = ?", derived)
    server.sql(
        "UPDATE versions SET derived_from = version_id, derivation = ? WHERE version_id = ?",
        row[0],
        source,
    )
    for again in (enclave, enclave.another(enclave.job)):
        answer = again.ask()
        assert answer.status_code != 200
        assert answer.json()["code"] == "seal_broken"


def test_rows_of_another_filter_are_not_passed_off_as_those_of_this_one(
    server: LocalServer,
    policy: clf.Policy,
    ask: Callable[..., HandmadeEnclave],
) -> None:
    """What a wider policy had let out is put back, row and ciphertext, after it was tightened."""
    enclave = ask("id")
    wider = enclave.open().session.inputs[0].version_id
    columns = [column.name for column in SCHEMA.tables["versions"].c]
    (kept,) = server.sql(f"SELECT {', '.join(columns)} FROM versions WHERE version_id = ?", wider)  # noqa: S608 - no value
    objects = server.objects_of(wider)
    server.set_policy("t", changed(policy, rows=f"{FILTER} AND id < 100"))
    later = enclave.another(enclave.job)
    tight = later.open().session.inputs[0].version_id
    (row,) = server.sql("SELECT derivation FROM versions WHERE version_id = ?", tight)
    server.sql("DELETE FROM versions WHERE version_id = ?", tight)
    statement = f"INSERT INTO versions ({', '.join(columns)}) VALUES ({', '.join('?' * len(kept))})"  # noqa: S608 - no value
    planted = dict(zip(columns, kept, strict=True)) | {"derivation": row[0]}
    server.sql(statement, *planted.values())
    with server.state.objects.writer(wider) as writer:
        for name, content in objects.items():
            writer.write(name, content)
        writer.commit()
    answer = later.another(enclave.job).ask()
    assert (answer.status_code, answer.json()["code"]) == (400, "seal_broken")


# -- what takes long, and what goes wrong ---------------------------------------------------------


@pytest.fixture
def derived(server: LocalServer) -> DerivedVersions:
    vault = Vault(server.state.keks, server.state.objects)
    return DerivedVersions(server.state, vault, patience_seconds=0.05)


class _Held(FilterRun):
    """A filter that waits until a test lets it go on."""

    go = threading.Event()

    def keep(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        assert self.go.wait(60)
        return super().keep(batch)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    monkeypatch.setattr(_Held, "go", threading.Event())
    monkeypatch.setattr(filters, "FilterRun", _Held)
    return _Held.go


def patiently(derived: DerivedVersions, table: StoredTable) -> Version:
    while True:
        with contextlib.suppress(NotReady):
            return derived.version(table, RowFilter.parse(FILTER), ["id"])


def test_session_is_told_to_come_again_while_rows_are_sealed(
    server: LocalServer, derived: DerivedVersions, held: threading.Event
) -> None:
    table = server.state.metadata.table("t")
    for _ in range(2):
        with pytest.raises(NotReady):
            derived.version(table, RowFilter.parse(FILTER), ["id"])
    held.set()
    version = patiently(derived, table)
    assert version.derived_from == table.current.version_id
    assert len(server.stored()) == 2


def test_not_ready_is_a_status_of_its_own(
    ask: Callable[..., HandmadeEnclave], monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_arguments: object) -> None:
        raise NotReady("still being sealed")

    monkeypatch.setattr(DerivedVersions, "version", busy)
    answer = ask("id").ask()
    assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")


def test_policy_that_changes_while_rows_are_sealed_wins(
    server: LocalServer, policy: clf.Policy, derived: DerivedVersions, held: threading.Event
) -> None:
    table = server.state.metadata.table("t")
    with pytest.raises(NotReady):
        derived.version(table, RowFilter.parse(FILTER), ["id"])
    server.set_policy("t", changed(policy, rows=f"{FILTER} AND id < 100"))
    making = dict(derived._running)
    held.set()
    (future,) = making.values()
    with pytest.raises(clf.ClfError) as caught:
        future.result(60)
    assert caught.value.code == "conflict"
    assert server.stored() == {table.current.version_id}


def test_server_that_stops_leaves_nothing_half_sealed(
    server: LocalServer, derived: DerivedVersions, held: threading.Event
) -> None:
    table = server.state.metadata.table("t")
    with pytest.raises(NotReady):
        derived.version(table, RowFilter.parse(FILTER), ["id"])
    (future,) = dict(derived._running).values()
    server.state.stopping.set()
    held.set()
    with pytest.raises(NotReady):
        future.result(60)
    assert server.stored() == {table.current.version_id}


@pytest.mark.embedded("a bucket has no disk that is full")
def test_full_disk_refuses_and_leaves_nothing(
    server: LocalServer, derived: DerivedVersions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_path: Path) -> None:
        raise OSError(28, "No space left on device")

    table = server.state.metadata.table("t")
    with monkeypatch.context() as patch:
        patch.setattr("clf_server._objects._sync", full)
        with pytest.raises(StorageFull):
            patiently(derived, table)
    assert server.stored() == {table.current.version_id}


def test_few_derived_versions_are_kept_and_none_that_may_be_pulled_is_removed(
    server: LocalServer,
    ask: Callable[..., HandmadeEnclave],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_derived, "_MOST_KEPT", 2)
    first = ask("id").open().session.inputs[0].version_id
    second = ask("id", "age").open().session.inputs[0].version_id
    server.clock.now += 1
    third = ask("id", "note")
    assert third.ask().json()["code"] == "not_ready"
    server.monotonic.now += LIFETIME_SECONDS + 1
    ask("id", "age").open()  # in use again
    assert third.ask().status_code == 200
    assert first not in server.stored()
    assert second in server.stored()
    assert len(server.stored()) == 3


def test_memory_is_a_few_row_groups(
    local: LocalServer, policy: clf.Policy, simulation: Simulation
) -> None:
    count = 1_500_000
    table = pa.table({"id": pa.array(range(count), pa.int64()), "x": pa.array([0.5] * count)})
    local.upload("big", table, changed(policy, rows="id >= 10"), target_bytes=1 << 20)
    size = table.nbytes
    del table
    pool = pa.default_memory_pool()
    pool.release_unused()
    before = pool.bytes_allocated()
    job = make_job([job_input(local.server_id, "big")])
    most = [0]
    real = FilterRun.keep

    def watch(self: FilterRun, batch: pa.RecordBatch) -> pa.RecordBatch:
        most[0] = max(most[0], pool.bytes_allocated() - before)
        return real(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FilterRun, "keep", watch)
        patch.setattr(_derived, "TARGET_BYTES", 1 << 20)
        session = HandmadeEnclave(simulation, local, job).open().session
    assert session.inputs[0].source is not None
    assert 0 < most[0] < size / 2
