from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from starlette.testclient import TestClient

import clf_sdk as clf
from clf_sdk.protocol import SessionAnswer
from clf_testing import HandmadeEnclave, LocalServer, Simulation, job_input, make_job


@pytest.fixture
def session(enclave: HandmadeEnclave) -> SessionAnswer:
    return enclave.open()


def _get(
    client: TestClient,
    session: SessionAnswer,
    name: str = "0",
    *,
    version_id: str = "",
    asked: str | None = None,
) -> Any:
    headers = {b"authorization": f"CLF-Ticket {session.access.blobs.ticket}".encode()}
    if asked is not None:
        headers[b"range"] = asked.encode()
    path = f"/v1/blobs/{version_id or session.session.inputs[0].version_id}/{name}"
    return client.get(path, headers=headers)


def _code(answer: Any) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


def test_ticket_opens_manifest_and_row_groups(local: LocalServer, session: SessionAnswer) -> None:
    stored = local.objects_of(session.session.inputs[0].version_id)
    assert set(stored) == {"manifest", "0"}
    for name, content in stored.items():
        answer = _get(local.data, session, name)
        assert (answer.status_code, answer.content) == (200, content)
        assert answer.headers["accept-ranges"] == "bytes"


def test_range_is_answered_exactly(local: LocalServer, session: SessionAnswer) -> None:
    whole = _get(local.data, session).content
    size = len(whole)
    for first, last in ((0, 0), (0, size - 1), (5, 9), (size - 1, size - 1)):
        answer = _get(local.data, session, asked=f"bytes={first}-{last}")
        assert answer.status_code == 206
        assert answer.headers["content-range"] == f"bytes {first}-{last}/{size}"
        assert answer.headers["content-length"] == str(last - first + 1)
        assert answer.content == whole[first : last + 1]


@pytest.mark.parametrize(
    "asked",
    [
        "bytes=0-{size}",
        "bytes={size}-{size}",
        "bytes=2-1",
        "bytes=-5",
        "bytes=5-",
        "bytes=0-1,3-4",
        "bytes=0-99999999999999999999",
        "rows=0-1",
        "bytes=a-b",
        "bytes=\u0661-\u0662",
        "",
    ],
)
def test_range_that_does_not_lie_in_the_object_is_malformed(
    local: LocalServer, session: SessionAnswer, asked: str
) -> None:
    size = len(_get(local.data, session).content)
    answer = _get(local.data, session, asked=asked.format(size=size))
    assert _code(answer) == (400, "malformed")


@pytest.mark.parametrize(
    "name",
    [
        "1",
        "00",
        "01",
        "-1",
        "4294967296",
        "metadata.sqlite",
        "manifest.bak",
        "%2e%2e%2f%2e%2e%2fkek.key",
        "..%2f..%2fkek.key",
        "..%5c..%5ckek.key",
        "%00",
        "0%00",
        "x" * 10_000,
    ],
)
def test_path_traversal_finds_no_object(
    local: LocalServer, session: SessionAnswer, name: str
) -> None:
    answer = _get(local.data, session, name)
    assert answer.status_code == 404
    assert (local.directory / "kek.key").read_bytes() not in answer.content


@pytest.mark.parametrize("version_id", ["..", "%2e%2e", "", "0" * 32, "*", "x" * 10_000])
def test_version_that_the_ticket_does_not_name_stays_closed(
    local: LocalServer, session: SessionAnswer, version_id: str
) -> None:
    answer = local.data.get(
        f"/v1/blobs/{version_id}/0",
        headers={"authorization": f"CLF-Ticket {session.access.blobs.ticket}"},
    )
    assert answer.status_code in (401, 404)


def test_ticket_does_not_open_another_table(
    local: LocalServer, session: SessionAnswer, numbers: pa.Table, policy: clf.Policy
) -> None:
    other = local.upload("other", numbers, policy)["version_id"]
    assert _code(_get(local.data, session, version_id=other)) == (401, "ticket_refused")


@pytest.mark.parametrize(
    "header", [None, "", "CLF-Ticket", "CLF-Ticket ", "CLF-Ticket guess", "Bearer {ticket}"]
)
def test_without_a_ticket_nothing_is_served(
    local: LocalServer, session: SessionAnswer, header: str | None
) -> None:
    headers = {"authorization": header.format(ticket=session.access.blobs.ticket)} if header else {}
    path = f"/v1/blobs/{session.session.inputs[0].version_id}/0"
    assert _code(local.data.get(path, headers=headers)) == (401, "ticket_refused")


def test_ticket_dies_after_ten_minutes(local: LocalServer, session: SessionAnswer) -> None:
    local.monotonic.now += 599
    assert _get(local.data, session).status_code == 200
    local.monotonic.now += 1
    assert _code(_get(local.data, session)) == (401, "ticket_refused")


@pytest.mark.embedded("tickets of replicas outlive each of them")
def test_ticket_dies_with_the_server(local: LocalServer, session: SessionAnswer) -> None:
    local.close()
    local.restart()
    assert _code(_get(local.data, session)) == (401, "ticket_refused")


def test_result_ticket_opens_no_blob(local: LocalServer, session: SessionAnswer) -> None:
    path = f"/v1/blobs/{session.session.inputs[0].version_id}/0"
    headers = {"authorization": f"CLF-Ticket {session.access.results.ticket}"}
    assert _code(local.data.get(path, headers=headers)) == (401, "ticket_refused")


@pytest.mark.parametrize("role", ["owner", "analyst"])
def test_token_of_a_person_opens_no_blob(
    local: LocalServer, session: SessionAnswer, role: str
) -> None:
    path = f"/v1/blobs/{session.session.inputs[0].version_id}/0"
    assert _code(local.data.get(path, headers=local.bearer(role))) == (401, "ticket_refused")


def test_dropped_table_is_gone_for_tickets_too(local: LocalServer, session: SessionAnswer) -> None:
    local.control.delete("/v1/tables/plans", headers=local.bearer())
    assert _code(_get(local.data, session)) == (401, "ticket_refused")


def test_blobs_stay_off_the_control_listener_while_there_is_another(
    local: LocalServer, session: SessionAnswer
) -> None:
    assert session.access.blobs.url == "http://localhost:4480"
    assert _code(_get(local.control, session)) == (404, "not_found")


def test_blobs_come_over_https_when_the_plain_listener_is_off(
    make_local: Callable[..., LocalServer],
    simulation: Simulation,
    numbers: pa.Table,
    policy: clf.Policy,
) -> None:
    server = make_local("quiet", blob_port=None)
    server.upload("plans", numbers, policy)
    job = make_job([job_input(server.server_id, "plans")])
    session = HandmadeEnclave(simulation, server, job).open()
    assert session.access.blobs.url is None
    assert _get(server.control, session).status_code == 200
    assert _code(_get(server.control, session, version_id="0" * 32)) == (401, "ticket_refused")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/info"),
        ("GET", "/healthz"),
        ("GET", "/openapi.json"),
        ("POST", "/v1/challenges"),
        ("POST", "/v1/sessions"),
        ("GET", "/v1/tables"),
        ("POST", "/v1/uploads"),
        ("PUT", "/v1/blobs/00000000000000000000000000000000/0"),
        ("DELETE", "/v1/tables/plans"),
        ("GET", "/"),
    ],
)
def test_data_listener_serves_nothing_but_blobs(local: LocalServer, method: str, path: str) -> None:
    assert local.data.request(method, path, headers=local.bearer()).status_code in (404, 405)
