from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_server import _objects
from clf_server._objects import ObjectStore, ObjectWriter
from clf_testing import LocalServer


def problem(answer: Any) -> str:
    assert answer.headers["content-type"] == "application/problem+json"
    return str(answer.json()["code"])


@pytest.fixture
def wide() -> pa.Table:
    return pa.table({"id": pa.array(range(3000), pa.int64()), "y": [1.5] * 3000})


def test_new_content_destroys_the_version_it_replaces(
    local: LocalServer, numbers: pa.Table, wide: pa.Table, policy: clf.Policy
) -> None:
    first = local.upload("t", numbers, policy)
    second = local.upload("t", wide, policy)
    assert second["version"] != first["version"]
    assert local.stored() == {second["version_id"]}
    assert first["version_id"] not in local.database_bytes().decode("latin-1")


def test_dropped_table_leaves_neither_key_nor_bytes(
    local: LocalServer, numbers: pa.Table, policy: clf.Policy
) -> None:
    described = local.upload("t", numbers, policy)
    answer = local.control.delete("/v1/tables/t", headers=local.bearer())
    assert answer.status_code == 204
    assert local.tables() == []
    assert local.stored() == set()
    assert described["version_id"].encode() not in local.database_bytes()
    assert problem(local.control.delete("/v1/tables/t", headers=local.bearer())) == "not_found"


def test_table_is_visible_when_it_is_committed_and_not_before(
    local: LocalServer, wide: pa.Table, policy: clf.Policy
) -> None:
    sealed = local.seal("t", wide, policy, target_bytes=8192)
    assert len(sealed.objects) > 3
    local.put_all(sealed)
    assert local.tables() == []
    described = local.commit(sealed).json()
    assert (described["rows"], described["version"]) == (3000, sealed.version)
    assert local.tables() == ["t"]
    local.restart()
    assert local.tables() == ["t"]


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("0", lambda data: data[:-1]),
        ("0", lambda data: data + b"x"),
        ("0", lambda _: b""),
        ("0", None),
        ("2", None),
        ("99", lambda _: b"too much"),
        ("manifest", None),
        ("manifest", lambda data: data[:-1]),
        ("manifest", lambda data: bytes([data[0] ^ 1]) + data[1:]),
        ("manifest", lambda _: b"{}"),
    ],
    ids=lambda value: value if isinstance(value, str) else "spoiled" if value else "missing",
)
def test_spoiled_upload_publishes_nothing(
    local: LocalServer,
    wide: pa.Table,
    policy: clf.Policy,
    name: str,
    spoil: Callable[[bytes], bytes] | None,
) -> None:
    sealed = local.seal("t", wide, policy, target_bytes=8192)
    data = sealed.objects.pop(name, b"")
    if spoil is not None:
        sealed.objects[name] = spoil(data)
    local.put_all(sealed)
    assert problem(local.commit(sealed)) in ("malformed", "seal_broken")
    assert local.tables() == []
    assert local.stored() == set()
    assert problem(local.commit(sealed)) == "not_found"


def test_manifest_of_another_version_or_upload_publishes_nothing(
    local: LocalServer, wide: pa.Table, numbers: pa.Table, policy: clf.Policy
) -> None:
    sealed, other = local.seal("t", wide, policy), local.seal("t", numbers, policy)
    local.put_all(sealed)
    assert problem(local.commit(sealed, other.version)) == "seal_broken"
    again = local.seal("t", wide, policy)
    again.objects["manifest"] = other.objects["manifest"]
    local.put_all(again)
    assert problem(local.commit(again, other.version)) == "seal_broken"
    assert local.tables() == []


def test_object_is_put_once(local: LocalServer, numbers: pa.Table, policy: clf.Policy) -> None:
    sealed = local.seal("t", numbers, policy)
    local.put_all(sealed)
    assert problem(local.put(sealed.ticket, "0", b"other bytes")) == "conflict"
    assert local.commit(sealed).status_code == 200


@pytest.mark.parametrize(
    "name", ["00", "-1", "1e9", "manifest.json", "..", "x", "1" * 20, "%2e%2e%2fkek.key", "0%00"]
)
def test_object_of_another_name_is_refused(
    local: LocalServer, policy: clf.Policy, name: str
) -> None:
    ticket = local.announce("t", policy)
    assert local.put(ticket, name, b"x").status_code == 404
    assert local.stored() == set()


def test_ticket_opens_its_own_upload_alone(local: LocalServer, policy: clf.Policy) -> None:
    first, second = local.announce("a", policy), local.announce("b", policy)
    for secret in (second.ticket, "guess", first.upload):
        answer = local.put(first, "0", b"x", secret=secret)
        assert (answer.status_code, problem(answer)) == (401, "ticket_refused")
    nobody = first.model_copy(update={"upload": "00" * 16})
    assert problem(local.put(nobody, "0", b"x")) == "ticket_refused"
    path = f"/v1/uploads/{first.upload}/0"
    assert problem(local.data.put(path, content=b"x")) == "ticket_refused"
    assert problem(local.data.put(path, content=b"x", headers=local.bearer())) == "ticket_refused"
    assert local.stored() == set()


def test_upload_over_the_limit_publishes_nothing(
    local: LocalServer, wide: pa.Table, policy: clf.Policy
) -> None:
    config = local.directory / "clf_server.conf"
    config.write_text(config.read_text() + "max_upload_bytes = 1000\n")
    local.restart()
    sealed = local.seal("t", wide, policy)
    answer = local.put(sealed.ticket, "0", sealed.objects["0"])
    assert (answer.status_code, problem(answer)) == (413, "too_large")
    assert problem(local.commit(sealed)) == "malformed"
    assert local.stored() == set()


def test_upload_ends_once(local: LocalServer, numbers: pa.Table, policy: clf.Policy) -> None:
    sealed = local.seal("t", numbers, policy)
    local.put_all(sealed)
    assert local.commit(sealed).status_code == 200
    assert problem(local.commit(sealed)) == "not_found"
    assert problem(local.put(sealed.ticket, "1", b"x")) == "ticket_refused"
    path = f"/v1/uploads/{sealed.ticket.upload}"
    assert problem(local.control.delete(path, headers=local.bearer())) == "not_found"
    assert local.tables() == ["t"]


def test_abandoned_upload_leaves_nothing(
    local: LocalServer, numbers: pa.Table, policy: clf.Policy
) -> None:
    sealed = local.seal("t", numbers, policy)
    local.put_all(sealed)
    path = f"/v1/uploads/{sealed.ticket.upload}"
    assert problem(local.control.delete(path)) == "token_refused"
    assert problem(local.control.delete(path, headers=local.bearer("analyst"))) == "token_refused"
    assert local.stored() != set()
    assert local.control.delete(path, headers=local.bearer()).status_code == 204
    assert local.stored() == set()


def test_upload_that_stands_still_loses_its_space(
    local: LocalServer, numbers: pa.Table, policy: clf.Policy
) -> None:
    sealed = local.seal("t", numbers, policy)
    local.put_all(sealed)
    local.monotonic.now += 119
    local.announce("other", policy)
    assert local.stored() != set()
    local.monotonic.now += 2
    local.announce("other", policy)
    assert local.stored() == set()
    assert problem(local.commit(sealed)) == "not_found"


def test_uploads_that_nobody_ends_have_a_limit(local: LocalServer, policy: clf.Policy) -> None:
    for _ in range(64):
        local.announce("t", policy)
    body = {"table": "t", "policy": policy.to_json()}
    answer = local.control.post("/v1/uploads", json=body, headers=local.bearer())
    assert (answer.status_code, problem(answer)) == (409, "conflict")
    local.monotonic.now += 121
    local.announce("t", policy)


def test_commit_waits_for_no_object_that_is_still_arriving(
    local: LocalServer, numbers: pa.Table, policy: clf.Policy
) -> None:
    sealed = local.seal("t", numbers, policy)
    data = sealed.objects.pop("0")
    local.put_all(sealed)
    answers: list[Any] = []

    def slowly() -> Iterator[bytes]:
        yield data[:10]
        answers.append(local.commit(sealed))
        yield data[10:]

    assert local.put(sealed.ticket, "0", slowly()).status_code == 204
    assert problem(answers[0]) == "conflict"
    assert local.commit(sealed).status_code == 200


def test_uploads_work_over_https_alone(
    make_local: Callable[..., LocalServer], numbers: pa.Table, policy: clf.Policy
) -> None:
    server = make_local("quiet", blob_port=None)
    assert server.announce("t", policy).url is None
    assert server.upload("t", numbers, policy)["rows"] == numbers.num_rows


def test_of_two_uploads_of_one_name_the_second_to_finish_is_a_conflict(
    local: LocalServer, numbers: pa.Table, wide: pa.Table, policy: clf.Policy
) -> None:
    for _ in range(2):  # once for a new table, once for one that is there
        first, second = local.seal("t", wide, policy), local.seal("t", numbers, policy)
        local.put_all(first)
        local.put_all(second)
        described = local.commit(first).json()
        answer = local.commit(second)
        assert (answer.status_code, problem(answer)) == (409, "conflict")
        assert local.stored() == {described["version_id"]}


@pytest.mark.embedded("a bucket has no disk that is full")
def test_full_disk_publishes_nothing_and_keeps_what_was_there(
    local: LocalServer,
    numbers: pa.Table,
    wide: pa.Table,
    policy: clf.Policy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = local.upload("t", numbers, policy)

    def full(_path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("clf_server._objects._sync", full)
        sealed = local.seal("t", wide, policy)
        local.put_all(sealed)
        answer = local.commit(sealed)
    assert (answer.status_code, problem(answer)) == (507, "storage_full")
    assert local.stored() == {before["version_id"]}
    assert local.upload("t", wide, policy)["rows"] == 3000


@pytest.mark.embedded("what lies in a bucket may arrive at another replica, and is swept later")
def test_restart_sweeps_what_a_dead_process_left(
    local: LocalServer, numbers: pa.Table, policy: clf.Policy
) -> None:
    kept = local.upload("t", numbers, policy)
    orphan = local.directory / "objects" / ("ab" * 16)
    orphan.mkdir()
    (orphan / "0").write_bytes(b"half an object")
    local.restart()
    assert local.stored() == {kept["version_id"]}


@pytest.mark.parametrize(
    "name", ["", "..", "a..b", "../t", "a/b", "a\0b", "A", "x" * 65, "x" * 10_000, "é"]
)
def test_bad_names_are_refused(local: LocalServer, policy: clf.Policy, name: str) -> None:
    body = {"table": name, "policy": policy.to_json()}
    answer = local.control.post("/v1/uploads", json=body, headers=local.bearer())
    assert (answer.status_code, problem(answer)) == (400, "malformed")
    assert len(answer.content) < 2000


def test_body_over_the_limit_is_refused(local: LocalServer) -> None:
    answer = local.control.post(
        "/v1/sessions", content=b" " * ((8 << 20) + 1), headers={"content-type": "application/json"}
    )
    assert (answer.status_code, problem(answer)) == (413, "too_large")


def test_tokens_are_needed_and_have_roles(local: LocalServer, policy: clf.Policy) -> None:
    body = {"table": "t", "policy": policy.to_json()}
    for headers in (
        {},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer guess"},
        {"Authorization": f"Basic {local.profile('owner').token}"},
        local.bearer("analyst"),
    ):
        answer = local.control.post("/v1/uploads", json=body, headers=headers)
        assert (answer.status_code, problem(answer)) == (401, "token_refused")
    assert local.control.get("/v1/tables", headers=local.bearer("analyst")).status_code == 200
    local.clock.now += 366 * 86400
    answer = local.control.get("/v1/tables", headers=local.bearer())
    assert problem(answer) == "token_refused"


def test_tokens_are_stored_as_hashes(local: LocalServer) -> None:
    stored = local.database_bytes()
    for role in ("owner", "analyst"):
        assert local.profile(role).token.encode() not in stored


def test_policies_are_shown_to_the_owner_only(
    local: LocalServer, numbers: pa.Table, policy: clf.Policy
) -> None:
    local.upload("t", numbers, policy)
    shown = [
        local.control.get("/v1/tables", headers=local.bearer(role)).json()["tables"][0]["policy"]
        for role in ("owner", "analyst")
    ]
    assert shown == [policy.to_json(), None]


def test_data_listener_serves_nothing_but_blobs(local: LocalServer) -> None:
    for path in ("/v1/tables", "/v1/info", "/healthz", "/openapi.json", "/v1/challenges"):
        assert local.data.get(path).status_code in (404, 405)


def test_version_id_in_use_is_never_overwritten(tmp_path: Path) -> None:
    store = ObjectStore.local(tmp_path / "objects")
    with store.writer("ab" * 16) as writer:
        writer.write("0", b"first")
        writer.commit()
    with pytest.raises(clf.ClfError):
        store.writer("ab" * 16)
    assert store.read("ab" * 16, "0") == b"first"


def test_what_was_put_again_after_it_broke_off_is_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync of the first attempt may come when its file is gone."""
    go = threading.Event()

    def late(path: Path, sync: Callable[[Path], None] = _objects._sync) -> None:
        assert go.wait(20)
        sync(path)

    monkeypatch.setattr(_objects, "_sync", late)
    store = ObjectStore.local(tmp_path / "objects")

    def break_off(writer: ObjectWriter) -> None:
        with writer.object("0") as write:
            write([bytes(_objects._SYNC_BYTES)])
            raise ConnectionError

    with store.writer("ab" * 16) as writer:
        with pytest.raises(ConnectionError):
            break_off(writer)
        threading.Timer(0.2, go.set).start()
        writer.write("1", b"whole")
        writer.commit()
    assert store.sizes("ab" * 16) == {"1": 5}


def test_a_disk_that_fails_while_an_object_arrives_fails_the_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel tells of a failed write once: to the sync that comes first."""
    failures = [OSError(errno.EIO, "told once")]

    def sync(_: Path) -> None:
        if failures:
            raise failures.pop()

    monkeypatch.setattr(_objects, "_sync", sync)
    store = ObjectStore.local(tmp_path / "objects")

    def write_and_commit() -> None:
        with store.writer("ab" * 16) as writer:
            writer.write("0", bytes(_objects._SYNC_BYTES))
            writer.commit()

    with pytest.raises(clf.ClfError, match="out of reach"):
        write_and_commit()
    assert store.versions() == []


@pytest.mark.embedded("a bucket's objects are deleted at once")
def test_a_new_upload_waits_until_the_space_of_the_last_version_is_free(
    local: LocalServer, numbers: pa.Table, wide: pa.Table, policy: clf.Policy, monkeypatch: Any
) -> None:
    store, go = local.state.objects, threading.Event()
    delete = store.delete

    def late(version_id: str) -> None:
        assert go.wait(20)
        delete(version_id)

    monkeypatch.setattr(store, "delete", late)
    first = local.upload("t", numbers, policy)
    second = local.upload("t", wide, policy)
    assert set(store.versions()) == {first["version_id"], second["version_id"]}
    threading.Timer(0.2, go.set).start()
    local.upload("u", numbers, policy)
    assert first["version_id"] not in store.versions()


@pytest.mark.embedded("a bucket's objects are deleted at once")
def test_a_version_that_can_not_be_deleted_is_swept_later(
    local: LocalServer, numbers: pa.Table, wide: pa.Table, policy: clf.Policy, monkeypatch: Any
) -> None:
    store = local.state.objects

    def fail(version_id: str) -> None:
        raise OSError(errno.EIO, version_id)

    first = local.upload("t", numbers, policy)
    with monkeypatch.context() as patch:
        patch.setattr(store, "delete", fail)
        second = local.upload("t", wide, policy)
        assert local.stored() == {first["version_id"], second["version_id"]}
    assert store.sweep(local.state.metadata.visible_versions) == [first["version_id"]]
