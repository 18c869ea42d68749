from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_server._objects import ObjectStore
from clf_testing import LocalServer, arrow_stream


def problem(answer: Any) -> str:
    assert answer.headers["content-type"] == "application/problem+json"
    return str(answer.json()["code"])


@pytest.fixture
def wide() -> pa.Table:
    return pa.table({"id": pa.array(range(3000), pa.int64()), "y": [1.5] * 3000})


def test_same_content_is_the_same_version(
    local: LocalServer, numbers: pa.Table, policy: clf.Policy
) -> None:
    first = local.upload("t", numbers, policy)
    stored = local.stored()
    again = local.upload("t", numbers, policy)
    assert (first["unchanged"], again["unchanged"]) == (False, True)
    assert again["version"] == first["version"]
    assert local.stored() == stored


def test_new_content_destroys_the_version_it_replaces(
    local: LocalServer, numbers: pa.Table, wide: pa.Table, policy: clf.Policy
) -> None:
    first = local.upload("t", numbers, policy)
    second = local.upload("t", wide, policy)
    assert second["version"] != first["version"]
    assert local.stored() == {second["version_id"]}
    assert first["version_id"] not in (local.directory / "metadata.sqlite").read_bytes().decode(
        "latin-1"
    )


def test_dropped_table_leaves_neither_key_nor_bytes(
    local: LocalServer, numbers: pa.Table, policy: clf.Policy
) -> None:
    described = local.upload("t", numbers, policy)
    answer = local.control.delete("/v1/tables/t", headers=local.bearer())
    assert answer.status_code == 204
    assert local.tables() == []
    assert local.stored() == set()
    assert (
        described["version_id"].encode() not in (local.directory / "metadata.sqlite").read_bytes()
    )
    assert problem(local.control.delete("/v1/tables/t", headers=local.bearer())) == "not_found"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: b"",
        lambda _: b"not arrow",
        lambda data: data[: len(data) // 2],
        lambda data: data[:-8],  # cut between two batches: only the end marker is missing
        lambda data: data + b"more",
        lambda data: data + data,
        lambda data: b"\xff\xff\xff\xff\xff\xff\xff\x7f" + data[8:],
    ],
    ids=["empty", "junk", "half", "no-end", "trailing", "twice", "huge-message"],
)
def test_spoiled_arrow_publishes_nothing(
    local: LocalServer, wide: pa.Table, policy: clf.Policy, spoil: Callable[[bytes], bytes]
) -> None:
    data = spoil(arrow_stream(wide, rows_per_batch=1000))
    answer = local.put(local.announce("t", policy), data)
    assert problem(answer) in ("malformed", "too_large")
    assert local.tables() == []
    assert local.stored() == set()


def test_upload_over_the_limit_publishes_nothing(
    local: LocalServer, wide: pa.Table, policy: clf.Policy
) -> None:
    config = local.directory / "clf_server.conf"
    config.write_text(config.read_text() + "max_upload_bytes = 1000\n")
    local.restart()
    answer = local.put(local.announce("t", policy), arrow_stream(wide))
    assert (answer.status_code, problem(answer)) == (413, "too_large")
    assert local.stored() == set()


def test_each_upload_is_announced_and_used_once(
    local: LocalServer, numbers: pa.Table, policy: clf.Policy
) -> None:
    upload = local.announce("t", policy)
    assert local.put(upload, arrow_stream(numbers)).status_code == 200
    assert problem(local.put(upload, arrow_stream(numbers))) == "not_found"
    assert problem(local.put("00" * 16, arrow_stream(numbers))) == "not_found"


def test_of_two_uploads_of_one_name_the_second_to_finish_is_a_conflict(
    local: LocalServer, numbers: pa.Table, wide: pa.Table, policy: clf.Policy
) -> None:
    for _ in range(2):  # once for a new table, once for one that is there
        first, second = local.announce("t", policy), local.announce("t", policy)
        wide = wide.slice(1)
        described = local.put(first, arrow_stream(wide)).json()
        answer = local.put(second, arrow_stream(numbers))
        assert (answer.status_code, problem(answer)) == (409, "conflict")
        assert local.stored() == {described["version_id"]}


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
        answer = local.put(local.announce("t", policy), arrow_stream(wide))
    assert (answer.status_code, problem(answer)) == (507, "storage_full")
    assert local.stored() == {before["version_id"]}
    assert local.upload("t", wide, policy)["rows"] == 3000


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
    stored = (local.directory / "metadata.sqlite").read_bytes()
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
    store = ObjectStore(tmp_path / "objects")
    with store.writer("ab" * 16) as writer:
        writer.write("0", b"first")
        writer.commit()
    with pytest.raises(clf.ClfError):
        store.writer("ab" * 16)
    assert store.read("ab" * 16, "0") == b"first"
