"""Sharing again what a table holds (docs/protocol.md §11.7), and attacks on it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pytest
from blake3 import blake3

import clf_sdk as clf
from clf_sdk.keys import derive_content_key
from clf_sdk.sealed import as_record_batches, content_tag
from clf_server import _whole
from clf_server._rotate_key import rotate_key
from clf_testing import HandmadeEnclave, LocalServer, SealedUpload

Refused = Callable[[Any], tuple[int, str]]


def events(local: LocalServer) -> list[str]:
    return [entry.event for entry in local.audited()]


def tag(local: LocalServer, name: str) -> str | None:
    found = local.sql(
        "SELECT v.content FROM versions v JOIN tables t ON t.version_id = v.version_id "
        "WHERE t.name = ?",
        name,
    )
    value: str | None = found[0][0]
    return value


def changed(policy: clf.Policy, **changes: Any) -> clf.Policy:
    return clf.Policy.from_json(policy.to_json() | changes)


def test_same_content_keeps_its_version_and_leaves_an_entry_alone(
    local: LocalServer, numbers: pa.Table, policy: clf.Policy
) -> None:
    first = local.share("t", numbers, policy)
    before, logged = local.objects_of(first["version_id"]), events(local)
    assert local.share("t", numbers, policy) == first
    local.restart()
    assert local.share("t", numbers, policy, target_bytes=64) == first
    assert local.stored() == {first["version_id"]}
    assert local.objects_of(first["version_id"]) == before
    assert events(local) == [*logged, "table.shared", "table.shared"]
    details = local.audited()[-1].details
    assert details["version"] == details["replaces"] == first["version"]


def test_approved_job_runs_after_its_table_was_shared_again(
    enclave: HandmadeEnclave, numbers: pa.Table, policy: clf.Policy
) -> None:
    local = enclave.server
    local.upload("plans", numbers, policy)  # without a tag, as older clients do
    shared = local.share("plans", numbers, policy)
    assert enclave.keys(enclave.open())
    again = local.share("plans", numbers, policy)
    assert again["version"] == shared["version"]
    assert enclave.another(enclave.job).open().session.inputs[0].version == shared["version"]


def test_policy_alone_is_set(
    enclave: HandmadeEnclave, numbers: pa.Table, policy: clf.Policy
) -> None:
    local = enclave.server
    first = local.share("plans", numbers, policy)
    ticket = enclave.open().access.blobs.ticket
    path = f"/v1/blobs/{first['version_id']}/manifest"
    headers = {"Authorization": f"CLF-Ticket {ticket}"}
    assert local.data.get(path, headers=headers).status_code == 200
    logged = events(local)
    tighter = changed(policy, smallest_group=policy.smallest_group + 5)
    second = local.share("plans", numbers, tighter)
    assert second == first | {"policy": tighter.to_json()}
    assert events(local)[len(logged) :] == ["policy.changed", "table.shared"]
    # As for any change of the policy: what was given out under the old one ends.
    assert local.data.get(path, headers=headers).status_code == 401


def test_wider_policy_is_refused_for_the_same_content_too(
    local: LocalServer, numbers: pa.Table, policy: clf.Policy, refused: Refused
) -> None:
    tight = changed(policy, smallest_group=policy.smallest_group + 5)
    first = local.share("t", numbers, tight)
    body = {"table": "t", "policy": policy.to_json()}
    answer = local.control.post("/v1/uploads", json=body, headers=local.bearer())
    assert refused(answer) == (409, "policy_widened")
    assert local.share("t", numbers, policy, widen=True) == first | {"policy": policy.to_json()}


def test_policy_that_does_not_fit_changes_nothing(
    local: LocalServer, numbers: pa.Table, policy: clf.Policy, refused: Refused
) -> None:
    first = local.share("t", numbers, policy)
    sealed = local.seal("t", numbers, changed(policy, rows="nothing > 3"))
    local.put_all(sealed)
    assert refused(local.commit(sealed, **sealed.tags()))[0] == 400
    assert local.share("t", numbers, policy) == first


@pytest.mark.same_directory
def test_same_content_keeps_its_version_when_the_key_was_rotated(
    local: LocalServer, numbers: pa.Table, policy: clf.Policy
) -> None:
    first = local.share("t", numbers, policy)
    before = tag(local, "t")
    assert rotate_key(local.directory).rewrapped == 1
    assert local.share("t", numbers, policy) == first
    assert tag(local, "t") == before


@pytest.mark.parametrize(
    "other",
    [
        lambda table: table.slice(1),
        lambda table: table.rename_columns(["id", "x", "z"]),
        lambda table: table.set_column(0, "id", table["id"].cast(pa.int32())),
        lambda table: pa.concat_tables([table.slice(1), table.slice(0, 1)]),
    ],
    ids=["rows", "names", "types", "order"],
)
def test_other_content_is_a_new_version(
    local: LocalServer,
    numbers: pa.Table,
    policy: clf.Policy,
    other: Callable[[pa.Table], pa.Table],
) -> None:
    first = local.share("t", numbers, policy)
    second = local.share("t", other(numbers), policy)
    third = local.share("t", numbers, policy)
    assert len({each["version"] for each in (first, second, third)}) == 3
    assert local.stored() == {third["version_id"]}


@pytest.mark.parametrize("tags", [{}, {"content": None, "same_as": None}])
def test_client_that_makes_no_digest_gets_a_new_version(
    local: LocalServer, numbers: pa.Table, policy: clf.Policy, tags: dict[str, None]
) -> None:
    first = local.share("t", numbers, policy)
    sealed = local.seal("t", numbers, policy)
    local.put_all(sealed)
    second = local.commit(sealed, **tags).json()
    assert second["version"] != first["version"]
    assert tag(local, "t") is None
    third = local.share("t", numbers, policy)
    assert third["version"] not in (first["version"], second["version"])
    assert local.share("t", numbers, policy) == third


@pytest.mark.parametrize("name", ["0", "1", "manifest"])
@pytest.mark.parametrize("damage", ["flipped", "gone"])
def test_sharing_again_mends_what_lies_damaged(
    local: LocalServer, numbers: pa.Table, policy: clf.Policy, name: str, damage: str
) -> None:
    first = local.share("t", numbers, policy, target_bytes=64)
    files, path = local.state.objects._files, f"{first['version_id']}/{name}"
    if damage == "gone":
        files.delete_file(path)
    else:
        data = bytearray(local.state.objects.read(first["version_id"], name))
        data[len(data) // 2] ^= 1
        with files.open_output_stream(path) as stream:
            stream.write(bytes(data))
    second = local.share("t", numbers, policy, target_bytes=64)
    assert second["version"] != first["version"]
    assert local.stored() == {second["version_id"]}
    assert local.share("t", numbers, policy) == second


def test_version_that_takes_long_to_look_at_is_replaced(
    local: LocalServer, numbers: pa.Table, policy: clf.Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = local.share("t", numbers, policy)
    monkeypatch.setattr(_whole, "_PATIENCE_SECONDS", -1)
    assert local.share("t", numbers, policy)["version"] != first["version"]


# -- at the same time ------------------------------------------------------------------------


def test_same_content_shared_many_times_at_once_keeps_its_version(
    local: LocalServer, numbers: pa.Table, policy: clf.Policy
) -> None:
    first = local.share("t", numbers, policy)
    uploads = [local.seal("t", numbers, policy) for _ in range(8)]
    for sealed in uploads:
        local.put_all(sealed)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda sealed: local.commit(sealed, **sealed.tags()), uploads))
    assert [answer.json() for answer in answers] == [first] * 8
    assert local.stored() == {first["version_id"]}


@pytest.mark.parametrize("overtaker", ["content", "policy", "drop"])
def test_same_content_that_was_overtaken_is_a_conflict(
    local: LocalServer, numbers: pa.Table, policy: clf.Policy, refused: Refused, overtaker: str
) -> None:
    local.share("t", numbers, policy)
    sealed = local.seal("t", numbers, policy)
    local.put_all(sealed)
    if overtaker == "content":
        local.share("t", numbers.slice(1), policy)
    elif overtaker == "policy":
        local.set_policy("t", changed(policy, smallest_group=policy.smallest_group + 5))
    else:
        local.control.delete("/v1/tables/t", headers=local.bearer())
    kept = local.stored() - {sealed.ticket.version_id}
    assert refused(local.commit(sealed, **sealed.tags())) == (409, "conflict")
    assert local.stored() == kept


def test_policies_for_the_same_content_at_once_leave_one_of_them(
    local: LocalServer, numbers: pa.Table, policy: clf.Policy
) -> None:
    first = local.share("t", numbers, policy)
    group = policy.smallest_group
    policies = [changed(policy, smallest_group=group + n) for n in range(1, 5)]
    uploads = [local.seal("t", numbers, each) for each in policies]
    for sealed in uploads:
        local.put_all(sealed)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda sealed: local.commit(sealed, **sealed.tags()), uploads))
    done = [answer.json() for answer in answers if answer.status_code == 200]
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    (listed,) = local.control.get("/v1/tables", headers=local.bearer()).json()["tables"]
    assert done == [listed]
    assert listed["version"] == first["version"]


# -- attacks ---------------------------------------------------------------------------------


def test_reader_of_the_database_can_not_confirm_a_guess(
    local: LocalServer, numbers: pa.Table, policy: clf.Policy
) -> None:
    """The guess is right: all that lies open is tried as a key, and as an unkeyed digest."""
    described = local.share("t", numbers, policy)
    sealed = SealedUpload.of(local.announce("t", policy), "t", numbers)
    stored, database = tag(local, "t"), local.database_bytes()
    assert stored is not None
    assert sealed.content.encode() not in database
    assert bytes.fromhex(sealed.content) not in database
    (batch,) = as_record_batches(numbers)
    plain = [
        sealed.content.encode(),
        batch.serialize().to_pybytes(),
        *map(bytes, batch.columns[0].buffers()[1:]),
    ]
    for data in plain:
        for digest in (hashlib.sha256(data), hashlib.sha512(data), blake3(data)):
            assert digest.hexdigest()[:64] != stored
    rows = [row for (name,) in _tables(local) for row in local.sql(f"SELECT * FROM {name}")]  # noqa: S608 - names of our own
    known = {str(value) for row in rows for value in row} | {"", described["version"]}
    for value in known:
        for key in (value.encode(), hashlib.sha256(value.encode()).digest()):
            assert content_tag(key, table="t", content=sealed.content) != stored
            assert hmac.digest(key, sealed.content.encode(), "sha256").hex() != stored
            padded = hashlib.sha256(key).digest()
            derived = derive_content_key(padded, described["version_id"])
            assert content_tag(derived, table="t", content=sealed.content) != stored


def _tables(local: LocalServer) -> list[tuple[str]]:
    if local.state.metadata.shared:
        return local.sql("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
    return local.sql("SELECT name FROM sqlite_master WHERE type = 'table'")


def test_reader_of_the_database_does_not_see_that_two_hold_the_same(
    local: LocalServer, numbers: pa.Table, policy: clf.Policy
) -> None:
    tags = []
    for name, table in [("a", numbers), ("b", numbers), ("a", numbers.slice(1)), ("a", numbers)]:
        local.share(name, table, policy)
        tags.append(tag(local, name))
    assert len(set(tags)) == 4


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("lacks", ["0", "manifest", "a policy that fits"])
def test_holder_of_a_token_can_not_try_guesses_with_uploads_that_fail(
    local: LocalServer,
    numbers: pa.Table,
    policy: clf.Policy,
    lacks: str,
    right: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """The answer must be the same for a right guess as for a wrong one, if nothing is logged."""
    local.share("t", numbers, policy)
    asked = changed(policy, rows="nothing > 3") if lacks.startswith("a policy") else policy
    sealed = local.seal("t", numbers if right else numbers.slice(1), asked)
    sealed.objects.pop(lacks, None)
    local.put_all(sealed)
    answer = local.commit(sealed, **sealed.tags())
    assert answer.status_code == 400
    assert answer.json()["code"] in ("malformed", "invalid_filter")
    assert events(local)[-1] == "table.shared"
    assert events(local).count("table.shared") == 1


def test_guess_of_the_holder_of_a_token_is_logged_whether_right_or_wrong(
    local: LocalServer, numbers: pa.Table, policy: clf.Policy
) -> None:
    for count, guess in enumerate((numbers, numbers, numbers.slice(1)), 1):
        local.share("t", guess, policy)
        assert events(local).count("table.shared") == count


def test_tag_goes_with_its_version(
    local: LocalServer, numbers: pa.Table, policy: clf.Policy
) -> None:
    local.share("t", numbers, policy)
    old = tag(local, "t")
    assert old is not None
    assert old.encode() in local.database_bytes()
    local.share("t", numbers.slice(1), policy)
    assert old.encode() not in local.database_bytes()
    new = tag(local, "t")
    assert new is not None
    local.control.delete("/v1/tables/t", headers=local.bearer())
    assert new.encode() not in local.database_bytes()


def test_writer_to_the_database_can_not_have_the_server_keep_what_is_to_be_replaced(
    local: LocalServer, numbers: pa.Table, policy: clf.Policy
) -> None:
    """Whoever can write there copies a right tag, from another table or from an upload before."""
    newer = numbers.slice(1)
    local.share("other", newer, policy)
    foreign = tag(local, "other")
    local.share("t", newer, policy)
    earlier = tag(local, "t")
    for planted in (foreign, earlier, "00" * 32, ""):
        first = local.share("t", numbers, policy, widen=True)
        local.sql(
            "UPDATE versions SET content = ? WHERE version_id = ?", planted, first["version_id"]
        )
        local.restart()
        second = local.share("t", newer, policy)
        assert (second["version"], second["rows"]) != (first["version"], first["rows"])


def test_nobody_but_the_owner_is_told_a_key_or_a_tag(
    enclave: HandmadeEnclave, numbers: pa.Table, policy: clf.Policy, refused: Refused
) -> None:
    local = enclave.server
    local.share("plans", numbers, policy)
    ticket = local.announce("plans", policy)
    assert ticket.content_key is not None
    content = tag(local, "plans")
    assert content is not None
    body = {"table": "plans", "policy": policy.to_json()}
    for headers in ({}, local.bearer("analyst")):
        answer = local.control.post("/v1/uploads", json=body, headers=headers)
        assert refused(answer) == (401, "token_refused")
    for label in ("owner", "analyst"):
        listed = local.control.get("/v1/tables", headers=local.bearer(label))
        assert content not in listed.text
    released = enclave.keys(enclave.open()).inputs["plans"]
    assert ticket.content_key not in (released.manifest_key, *released.columns.values())
    assert repr(ticket.content_key) not in repr(ticket)
