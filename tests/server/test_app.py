from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

import clf_sdk as clf
from clf_sdk.errors import BY_CODE
from clf_sdk.keys import server_id
from clf_sdk.protocol import ServerInfo
from clf_server import _middleware
from clf_server._problems import status_of
from clf_testing import LocalServer

Refused = Callable[[Any], tuple[int, str]]
JSON = {"content-type": "application/json"}


def test_anyone_may_ask_who_the_server_is(local: LocalServer) -> None:
    info = ServerInfo.parse(local.control.get("/v1/info").json())
    assert info.server == server_id(info.public_key) == local.profile("owner").server
    assert (info.name, info.mode, info.protocol_versions) == ("clinic", "simulation", [1])
    assert local.control.get("/healthz").json() == {"status": "ok"}
    assert local.control.get("/readyz").json() == {"status": "ready"}


def test_server_that_trusts_intel_says_so(make_local: Callable[..., LocalServer]) -> None:
    real = make_local("real", simulated=False)
    assert real.control.get("/v1/info").json()["mode"] == "dcap"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/v2/info"),
        ("GET", "/docs"),
        ("PUT", "/v1/info"),
        ("GET", "/v1/challenges"),
        ("GET", "/v1/%2e%2e/%2e%2e/kek.key"),
        ("GET", "/" + "x" * 10_000),
    ],
)
def test_unknown_route_is_a_problem(
    local: LocalServer, refused: Refused, method: str, path: str
) -> None:
    answer = local.control.request(method, path)
    assert refused(answer) == (404, "not_found")
    assert len(answer.content) < 1000


def test_each_request_has_an_id_of_its_own(local: LocalServer) -> None:
    ids = {local.control.get("/healthz").headers["x-request-id"] for _ in range(5)}
    assert len(ids) == 5


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"7",
        b"{}",
        b'{"table": "plans"}',
        b'{"table": "plans", "policy": {}, "more": 1}',
        b'{"table": "plans", "table": "plans", "policy": {}}',
        b'{"table": "plans", "policy": {"x": NaN}}',
        b'{"table": "plans", "policy": []}',
        b'{"table": 7, "policy": {}}',
        b'{"table": null, "policy": {}}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
    ids=lambda body: repr(body[:50]),
)
def test_malformed_request_is_a_problem(local: LocalServer, refused: Refused, body: bytes) -> None:
    answer = local.control.post("/v1/uploads", content=body, headers=local.bearer() | JSON)
    assert refused(answer) == (400, "malformed")


def test_policy_that_is_none_is_refused(local: LocalServer, refused: Refused) -> None:
    body = {"table": "plans", "policy": {}}
    answer = local.control.post("/v1/uploads", json=body, headers=local.bearer())
    assert refused(answer) == (400, "configuration")


def test_document_of_a_later_version_is_too_new(
    local: LocalServer, refused: Refused, policy: clf.Policy
) -> None:
    body = {"table": "plans", "policy": policy.to_json() | {"clf": 2}}
    answer = local.control.post("/v1/uploads", json=body, headers=local.bearer())
    assert refused(answer) == (400, "format_too_new")


@pytest.mark.parametrize("path", ["/v1/uploads", "/v1/sessions", f"/v1/results/{'0' * 32}/fit"])
def test_json_body_over_the_limit_is_refused(
    local: LocalServer, refused: Refused, path: str
) -> None:
    body = b'{"table": "' + b"x" * (8 << 20) + b'"}'
    answer = local.control.post(path, content=body, headers=local.bearer() | JSON)
    assert refused(answer) == (413, "too_large")


def test_limit_counts_bytes_and_not_what_the_header_says(
    local: LocalServer, refused: Refused
) -> None:
    pieces = (b" " * (1 << 20) for _ in range(9))  # chunked: there is no content-length
    answer = local.control.post("/v1/sessions", content=pieces, headers=JSON)
    assert refused(answer) == (413, "too_large")


def test_problem_never_repeats_what_was_sent(local: LocalServer) -> None:
    value = "value-that-nobody-else-may-read"
    for body in ({"table": value.upper(), "policy": {}}, {"table": "t", "policy": value}):
        answer = local.control.post("/v1/uploads", json=body, headers=local.bearer())
        assert answer.status_code == 400
        assert value not in answer.text.lower()


def test_unexpected_failure_tells_nothing_but_the_request_id(
    local: LocalServer, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(type(local.state.metadata), "list_tables", fail)
    client = TestClient(local.app, raise_server_exceptions=False)
    answer = client.get("/v1/tables", headers=local.bearer())
    assert refused(answer) == (500, "server_error")
    assert "secret detail" not in answer.text


def test_body_that_dawdles_meets_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_middleware, "_CHUNK_SECONDS", 0.01)
    sent: list[dict[str, Any]] = []

    async def application(_scope: Any, receive: Any, _send: Any) -> None:
        await receive()

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(60)
        return {}

    async def send(message: Any) -> None:
        sent.append(message)

    guard = _middleware.RequestGuard(application, lambda _method, _path: 1 << 20)
    scope = {"type": "http", "method": "PUT", "path": "/v1/uploads/x", "state": {}}
    asyncio.run(guard(scope, receive, send))
    assert sent[0]["status"] == 408
    assert b"deadline_exceeded" in sent[1]["body"]


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_each_error_has_a_status(code: str) -> None:
    status = status_of(BY_CODE[code]("message"))
    server_side = {"error", "transport", "server_error"}
    server_side |= {"audit", "log_altered", "log_inconsistent"}
    server_side |= {"run_failed", "identity_locked"}  # never said by a server
    assert (status == 500) is (code in server_side)
