"""Mocks come and go with their table, and show analysts what may leave."""

from __future__ import annotations

import base64
from typing import Any

import pyarrow as pa

import clf_sdk as clf
from clf_sdk._mock_document import mock_to_document
from clf_sdk.protocol import MOCK
from clf_sdk.sealed import seal_document
from clf_testing import LocalServer

ENCLAVE = clf.EnclavePolicy(mrenclave="ab" * 32)
MADE_UP = pa.table({"id": pa.array([1, 2], pa.int64()), "x": [0.5, 1.5]})


def _upload(local: LocalServer, numbers: pa.Table, document: Any, policy: clf.Policy) -> Any:
    sealed = local.seal("t", numbers, policy)
    ticket = sealed.ticket
    data, _ = seal_document(
        document, output=MOCK, output_key=ticket.table_key, version_id=ticket.version_id
    )
    local.put_all(sealed)
    assert local.put(ticket, "document", data).status_code == 204
    return local.commit(sealed)


def _columns(local: LocalServer, label: str) -> list[str]:
    answer = local.control.get("/v1/tables/t/mock", headers=local.bearer(label))
    assert answer.status_code == 200, answer.text
    stream = pa.ipc.open_stream(base64.b64decode(answer.json()["arrow"]))
    return list(stream.read_all().column_names)


def test_mock_shows_what_the_present_policy_lets_out_and_goes_with_the_table(
    local: LocalServer, numbers: pa.Table
) -> None:
    numbers = numbers.select(["id", "x"])
    policy = clf.Policy(enclave=ENCLAVE, operations=["glm"])
    assert _upload(local, numbers, mock_to_document(MADE_UP), policy).status_code == 200
    assert _columns(local, "analyst") == ["id", "x"]
    tighter = clf.Policy(enclave=ENCLAVE, operations=["glm"], columns=["id"])
    answer = local.control.put(
        "/v1/tables/t/policy",
        json={"policy": tighter.to_json(), "widen": False},
        headers=local.bearer(),
    )
    assert answer.status_code == 200
    assert _columns(local, "analyst") == ["id"]
    assert _columns(local, "owner") == ["id", "x"]
    assert local.control.get("/v1/tables/t/mock").status_code == 401
    others = [clf.Identity.create().public]
    local.set_policy(
        "t", clf.Policy(enclave=ENCLAVE, operations=["glm"], columns=["id"], analysts=others)
    )
    hidden = local.control.get("/v1/tables/t/mock", headers=local.bearer("analyst"))
    assert hidden.json()["code"] == "not_found"
    assert _columns(local, "owner") == ["id", "x"]
    local.upload("t", numbers, policy, widen=True)
    gone = local.control.get("/v1/tables/t/mock", headers=local.bearer("analyst"))
    assert gone.json()["code"] == "not_found"


def test_mock_of_another_table_is_refused(local: LocalServer, numbers: pa.Table) -> None:
    numbers = numbers.select(["id", "x"])
    policy = clf.Policy(enclave=ENCLAVE, operations=["glm"])
    for document in (
        mock_to_document(MADE_UP.append_column("more", [[1, 2]])),
        mock_to_document(MADE_UP.set_column(0, "id", [["a", "b"]])),
        {"arrow": "AAAA"},
        {"other": 1},
    ):
        answer = _upload(local, numbers, document, policy)
        assert answer.status_code in (400, 422), answer.text
    assert local.tables() == []
    assert local.stored() == set()


def test_share_publishes_a_mock_that_an_analyst_reads(
    clinic: Any, policy: clf.Policy, numbers: pa.Table
) -> None:
    deciding = clf.connect(clinic.owner)
    shared = clf.share(numbers, name="mocked", policy=policy, to=deciding, mock=True)
    assert shared.mock().schema.names == numbers.schema.names
    reading = clf.connect(clinic.analyst)
    table = reading.table("mocked")
    assert table[["id"]].mock().column_names == ["id"]
    assert "mock data" in clf.catalogue(reading).text()
    deciding.close()
    reading.close()
