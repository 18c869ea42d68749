from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest

from clf_sdk.keys import SigningKey
from clf_server import _result_ledger, _results
from clf_testing import HandmadeEnclave, Sender

Refused = Callable[[Any], tuple[int, str]]


@pytest.fixture
def sender(enclave: HandmadeEnclave) -> Sender:
    return Sender(enclave)


def test_result_is_invisible_until_its_envelope_holds(sender: Sender) -> None:
    sender.put_all()
    assert sender.visible() == []
    assert sender.finish().status_code == 204
    assert sender.visible() == [sender.output.signed.envelope.version_id]
    base = f"/v1/results/{sender.enclave.run}/fit"
    for name, data in sender.output.objects.items():
        answer = sender.server.control.get(f"{base}/{name}", headers=sender.server.bearer())
        assert answer.content == data


def test_result_put_twice_is_the_same_result(sender: Sender) -> None:
    sender.put_all()
    assert [sender.finish().status_code for _ in range(2)] == [204, 204]
    assert len(sender.visible()) == 1


def test_objects_that_come_again_change_nothing(sender: Sender) -> None:
    sender.put_all()
    sender.finish()
    assert sender.put("0", b"other bytes").status_code == 204
    path = f"/v1/results/{sender.enclave.run}/fit/0"
    answer = sender.server.control.get(path, headers=sender.server.bearer())
    assert answer.content == sender.output.objects["0"]
    assert sender.finish().status_code == 204


def test_one_run_can_not_take_the_room_of_all(
    sender: Sender, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_result_ledger, "_MOST_OPEN_OF_RUN", 1)
    monkeypatch.setattr(_results, "_MOST_OBJECTS", 1)
    sender.put_all()
    assert refused(sender.put("0", b"x", version_id="ab" * 16)) == (413, "too_large")
    assert refused(sender.put("1", b"x")) == (413, "too_large")
    other = Sender(HandmadeEnclave(sender.enclave.simulation, sender.server, sender.enclave.job))
    other.put_all()
    assert [each.finish().status_code for each in (sender, other)] == [204, 204]


def test_refused_results_stand_in_the_audit_log(sender: Sender) -> None:
    sender.put_all()
    sender.finish(sender.signed(SigningKey.generate()))
    sender.put(ticket="guessed")
    sender.output = sender.seal()
    logged = [
        (entry.details["code"], entry.details["run"], entry.details["output"])
        for entry in sender.server.audited()
        if entry.event == "result.refused"
    ]
    assert logged == [("ticket_refused", sender.enclave.run, "fit")] * 2


def test_second_different_result_of_a_run_is_a_conflict(sender: Sender, refused: Refused) -> None:
    sender.put_all()
    sender.finish()
    first = sender.visible()
    sender.output = sender.seal()
    sender.put_all()
    assert refused(sender.finish()) == (409, "conflict")
    assert sender.visible() == first
    assert sender.output.signed.envelope.version_id not in sender.server.stored()


def test_envelope_signed_by_another_key_is_refused(sender: Sender, refused: Refused) -> None:
    sender.put_all()
    status, code = refused(sender.finish(sender.signed(SigningKey.generate())))
    assert status in (400, 401)
    assert code in ("signature_invalid", "ticket_refused")
    assert sender.visible() == []


@pytest.mark.parametrize(
    "changes",
    [{"run": "00" * 16}, {"job": "00" * 32}, {"mode": "dcap"}],
    ids=["run", "job", "mode"],
)
def test_envelope_for_another_run_job_or_mode_is_refused(
    sender: Sender, refused: Refused, changes: dict[str, Any]
) -> None:
    sender.put_all()
    assert refused(sender.finish(sender.signed(**changes))) == (401, "ticket_refused")
    assert sender.visible() == []


@pytest.mark.parametrize(
    "changes",
    [
        {"objects": {"manifest": 7}},
        {"objects": {"manifest": 7, "0": 7}},
        {"objects": {"manifest": 1, "0": 2, "1": 3}},
        {"objects": {"document": 7}, "kind": "document", "shape": None},
        {"version_id": "00" * 16},
    ],
    ids=repr,
)
def test_envelope_that_names_other_objects_is_refused(
    sender: Sender, refused: Refused, changes: dict[str, Any]
) -> None:
    sender.put_all()
    assert refused(sender.finish(sender.signed(**changes))) == (400, "malformed")
    assert sender.visible() == []


def test_object_that_never_came_is_missed(sender: Sender, refused: Refused) -> None:
    sender.put("manifest")
    assert refused(sender.finish()) == (400, "malformed")
    assert sender.visible() == []
    assert sender.output.signed.envelope.version_id not in sender.server.stored()


@pytest.mark.parametrize("name", ["x", "-1", "01", "..", "manifest2", "%2e%2e%2fkek.key"])
def test_object_of_another_name_is_refused(sender: Sender, name: str) -> None:
    assert sender.put(name, b"data").status_code in (400, 404, 405)
    assert "kek.key" not in sender.server.stored()


def test_blob_ticket_puts_no_result(sender: Sender, refused: Refused) -> None:
    ticket = sender.session.access.blobs.ticket
    assert refused(sender.put(ticket=ticket)) == (401, "ticket_refused")
    assert refused(sender.finish(ticket=ticket)) == (401, "ticket_refused")


def test_ticket_of_one_run_puts_no_result_of_another(sender: Sender, refused: Refused) -> None:
    assert refused(sender.put(run="00" * 16)) == (401, "ticket_refused")
    assert refused(sender.finish(run="00" * 16)) == (401, "ticket_refused")


def test_expired_ticket_puts_no_result(sender: Sender, refused: Refused) -> None:
    sender.server.monotonic.now += 600
    assert refused(sender.put()) == (401, "ticket_refused")
    sender.session = sender.enclave.open()
    sender.put_all()
    assert sender.finish().status_code == 204


@pytest.mark.embedded("tickets of replicas outlive each of them")
def test_ticket_from_before_a_restart_puts_no_result(sender: Sender, refused: Refused) -> None:
    sender.put_all()
    sender.server.close()
    sender.server.restart()
    assert refused(sender.finish()) == (401, "ticket_refused")
    assert sender.output.signed.envelope.version_id not in sender.server.stored()


def test_version_id_of_a_table_is_never_taken_by_a_result(
    sender: Sender, refused: Refused, shared: dict[str, Any]
) -> None:
    before = sender.server.objects_of(shared["version_id"])
    for name in ("manifest", "0"):
        answer = sender.put(name, b"overwritten", version_id=shared["version_id"])
        assert refused(answer) == (409, "conflict")
    assert sender.server.objects_of(shared["version_id"]) == before


def test_version_id_of_another_run_s_result_is_not_taken(
    sender: Sender, refused: Refused, enclave: HandmadeEnclave
) -> None:
    sender.put("manifest")
    other = Sender(
        HandmadeEnclave(enclave.simulation, enclave.server, enclave.job, hpke=enclave.hpke)
    )
    taken = sender.output.signed.envelope.version_id
    assert refused(other.put("manifest", b"x", version_id=taken))[0] in (401, 409)
    sender.put("0")
    assert sender.finish().status_code == 204


def test_output_over_the_limit_is_refused(
    sender: Sender, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_result_ledger, "_MOST_OUTPUT_BYTES", 10)
    assert refused(sender.put("0", b"x" * 11)) == (413, "too_large")


def test_object_over_the_limit_is_refused(sender: Sender, refused: Refused) -> None:
    assert refused(sender.put("0", bytes((64 << 20) + 1))) == (413, "too_large")


def test_flood_of_unfinished_results_is_refused_and_swept(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_result_ledger, "_MOST_OPEN", 2)
    before = sender.server.stored()
    ids = [f"{number:032x}" for number in range(1, 4)]
    answers = [sender.put("0", b"x", version_id=version_id) for version_id in ids]
    assert [answer.status_code for answer in answers] == [204, 204, 413]
    assert sender.server.stored() == before | set(ids[:2])
    sender.server.monotonic.now += 601
    sender.session = sender.enclave.open()
    assert sender.put("0", b"x", version_id=ids[2]).status_code == 204
    assert sender.server.stored() == before | {ids[2]}


@pytest.mark.embedded("a bucket has no disk that is full")
def test_disk_full_while_a_result_arrives_is_told_and_can_be_retried(
    sender: Sender, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("clf_server._objects._sync", full)
        sender.put_all()
        assert refused(sender.finish()) == (507, "storage_full")
    assert sender.visible() == []
    assert sender.output.signed.envelope.version_id not in sender.server.stored()
    sender.put_all()
    assert sender.finish().status_code == 204


def test_results_need_a_person_s_token(sender: Sender, refused: Refused) -> None:
    sender.put_all()
    sender.finish()
    base = f"/v1/results/{sender.enclave.run}"
    for path in (base, f"{base}/fit/manifest", f"{base}/fit/0"):
        assert refused(sender.server.control.get(path)) == (401, "token_refused")
        answer = sender.server.control.get(path, headers=sender.headers())
        assert refused(answer) == (401, "token_refused")


def test_unknown_run_has_no_outputs_and_unknown_output_is_not_found(
    sender: Sender, refused: Refused
) -> None:
    control, bearer = sender.server.control, sender.server.bearer()
    assert control.get(f"/v1/results/{'00' * 16}", headers=bearer).json()["outputs"] == []
    path = f"/v1/results/{sender.enclave.run}/nothing/manifest"
    assert refused(control.get(path, headers=bearer)) == (404, "not_found")
