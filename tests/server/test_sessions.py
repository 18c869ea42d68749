from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_sdk.attestation import EnclavePolicy, Evidence, create_simulation
from clf_sdk.errors import SealBroken
from clf_sdk.keys import PrivateKey, server_id, verify_signature
from clf_testing import (
    MRENCLAVE,
    HandmadeEnclave,
    LocalServer,
    Simulation,
    allowed_enclave,
    job_input,
    make_job,
)

DAY = 86400


@pytest.fixture
def server(local: LocalServer, numbers: pa.Table, policy: clf.Policy) -> LocalServer:
    local.upload("t", numbers, policy)
    return local


@pytest.fixture
def enclave(simulation: Simulation, server: LocalServer) -> HandmadeEnclave:
    return HandmadeEnclave(simulation, server, make_job([job_input(server.server_id, "t")]))


def refused(answer: Any, code: str) -> None:
    assert answer.status_code in (400, 401, 403, 404), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == code
    assert problem["request_id"] == answer.headers["x-request-id"]


def test_session_releases_keys_to_the_attested_enclave_only(enclave: HandmadeEnclave) -> None:
    answer = enclave.open()
    session = answer.session
    assert session.mode == "simulation"
    assert server_id(enclave.server.state.identity.public_bytes) == session.server
    verify_signature(
        enclave.server.state.identity.public_bytes, "session", session.to_json(), answer.signature
    )
    assert set(enclave.keys(answer).inputs["t"].columns) == {"id", "x", "y"}
    enclave.hpke = PrivateKey.generate()
    with pytest.raises(SealBroken):
        enclave.keys(answer)


def test_session_says_when_it_was_granted_by_the_server_s_clock(enclave: HandmadeEnclave) -> None:
    for later in (0, 3600):
        enclave.server.clock.now += later
        assert enclave.open().session.granted_at == int(enclave.server.clock.now)


def test_only_keys_of_granted_columns_are_released(enclave: HandmadeEnclave) -> None:
    entry = job_input(enclave.server.server_id, "t", columns=["id", "y"])
    enclave.job = make_job([entry])
    assert set(enclave.keys(enclave.open()).inputs["t"].columns) == {"id", "y"}


def test_nonce_is_used_once(enclave: HandmadeEnclave) -> None:
    evidence = enclave.evidence(enclave.binding(enclave.challenge()))
    assert enclave.post(evidence).status_code == 200
    refused(enclave.post(evidence), "nonce_refused")


def test_nonce_is_used_up_by_a_failed_session(enclave: HandmadeEnclave) -> None:
    nonce = enclave.challenge()
    wrong = enclave.binding(nonce, server="00" * 32)
    refused(enclave.post(enclave.evidence(wrong)), "binding_mismatch")
    refused(enclave.post(enclave.evidence(enclave.binding(nonce))), "nonce_refused")


def test_nonce_that_was_never_given_out_is_refused(enclave: HandmadeEnclave) -> None:
    refused(enclave.post(enclave.evidence(enclave.binding("12" * 32))), "nonce_refused")


@pytest.mark.parametrize(("seconds", "status"), [(60, 200), (61, 403)])
def test_nonce_dies_after_a_minute(enclave: HandmadeEnclave, seconds: int, status: int) -> None:
    evidence = enclave.evidence(enclave.binding(enclave.challenge()))
    enclave.server.monotonic.now += seconds
    assert enclave.post(evidence).status_code == status


@pytest.mark.embedded("nonces of replicas outlive each of them")
def test_nonce_dies_with_the_process(enclave: HandmadeEnclave) -> None:
    evidence = enclave.evidence(enclave.binding(enclave.challenge()))
    enclave.server.restart()
    refused(enclave.post(evidence), "nonce_refused")


def test_evidence_for_another_server_is_refused(enclave: HandmadeEnclave) -> None:
    refused(enclave.ask(server="00" * 32), "binding_mismatch")


def test_evidence_for_another_job_is_refused(enclave: HandmadeEnclave) -> None:
    evidence = enclave.evidence(enclave.binding(enclave.challenge()))
    other = make_job([job_input(enclave.server.server_id, "t")], operation="other")
    refused(enclave.post(evidence, job=other), "binding_mismatch")


@pytest.mark.parametrize("field", ["run", "signing_key", "hpke"])
def test_quote_speaks_for_its_own_binding_only(enclave: HandmadeEnclave, field: str) -> None:
    changes: dict[str, Any] = {
        "run": "ee" * 16,
        "signing_key": bytes(32),
        "hpke": PrivateKey.generate().public.to_document(),
    }
    first = enclave.binding(enclave.challenge())
    swapped = enclave.evidence(first)
    other = enclave.binding(first.nonce, **{field: changes[field]})
    swapped["binding"] = other.to_json()
    refused(enclave.post(swapped), "report_data_mismatch")


def test_trailing_bytes_after_a_quote_are_refused(enclave: HandmadeEnclave) -> None:
    binding = enclave.binding(enclave.challenge())
    provider = enclave.simulation.provider()
    quote = provider.quote(binding.report_data) + b"\0"
    refused(
        enclave.post(Evidence(quote, binding, provider.collateral()).to_json()), "quote_malformed"
    )


@pytest.mark.parametrize(
    ("claim", "code"),
    [
        ({"debug": True}, "debug_enclave"),
        ({"mrsigner": "cd" * 32}, "signer_mismatch"),
        ({"isv_prod_id": 9}, "product_mismatch"),
        ({"isv_svn": 0}, "svn_too_low"),
    ],
)
def test_other_enclaves_are_refused(
    enclave: HandmadeEnclave, claim: dict[str, Any], code: str
) -> None:
    binding = enclave.binding(enclave.challenge())
    platform = enclave.simulation.platform
    claims: dict[str, Any] = {
        "mrenclave": "ab" * 32,
        "mrsigner": platform.mrsigner,
        "isv_prod_id": 1,
        "isv_svn": 1,
    }
    quote = platform.quote(binding.report_data, **(claims | claim))
    refused(enclave.post(Evidence(quote, binding, platform.collateral).to_json()), code)


@pytest.mark.parametrize(
    ("pins", "code"),
    [
        ({"mrenclave": "cd" * 32}, "measurement_mismatch"),
        ({"mrsigner": "cd" * 32, "isv_prod_id": 1, "min_isv_svn": 1}, "signer_mismatch"),
        ({"mrenclave": MRENCLAVE, "isv_prod_id": 9}, "product_mismatch"),
        ({"mrenclave": MRENCLAVE, "min_isv_svn": 2}, "svn_too_low"),
    ],
)
def test_enclave_that_the_job_does_not_allow_is_refused(
    enclave: HandmadeEnclave, pins: dict[str, Any], code: str
) -> None:
    entry = job_input(enclave.server.server_id, "t")
    enclave.job = make_job([entry], enclave=allowed_enclave(**pins))
    answer = enclave.ask()
    refused(answer, code)
    assert "the job" in answer.json()["detail"]


def test_each_table_s_own_policy_must_hold(
    enclave: HandmadeEnclave, numbers: pa.Table, policy: clf.Policy
) -> None:
    strict = clf.Policy(enclave=EnclavePolicy(mrenclave="77" * 32), operations=["glm"])
    enclave.server.upload("strict", numbers, strict)
    server = enclave.server.server_id
    enclave.job = make_job([job_input(server, "t"), job_input(server, "strict")])
    refused(enclave.ask(), "measurement_mismatch")
    enclave.server.upload("strict", numbers, policy, widen=True)
    assert enclave.ask().status_code == 200


def test_operation_that_the_policy_does_not_name_is_refused(enclave: HandmadeEnclave) -> None:
    enclave.job = make_job([job_input(enclave.server.server_id, "t")], operation="dump")
    answer = enclave.ask()
    refused(answer, "policy_refused")
    assert answer.json()["rule"] == "operations"


@pytest.mark.parametrize("changes", [{}, {"columns": ["id", "y"]}, {"version": None}])
def test_what_went_away_after_the_approval_is_not_found(
    enclave: HandmadeEnclave, numbers: pa.Table, policy: clf.Policy, changes: dict[str, Any]
) -> None:
    server = enclave.server
    if "version" in changes:
        (table,) = server.state.metadata.list_tables()
        changes["version"] = table.current.version
    enclave.job = make_job([job_input(server.server_id, "t", **changes)])
    assert enclave.ask().status_code == 200
    enclave.run = "ee" * 16
    if changes:
        server.upload("t", numbers.select(["id", "x"]), policy)
    else:
        server.control.delete("/v1/tables/t", headers=server.bearer())
    refused(enclave.ask(), "not_found")


def test_job_that_asks_nothing_of_this_server_is_refused(enclave: HandmadeEnclave) -> None:
    enclave.job = make_job([job_input("00" * 32, "t")])
    refused(enclave.ask(), "binding_mismatch")


@pytest.mark.parametrize("days", [-400, 400])
def test_clock_far_off_is_named_as_the_cause(enclave: HandmadeEnclave, days: int) -> None:
    enclave.server.clock.now += days * DAY
    answer = enclave.ask()
    refused(answer, "collateral_expired")
    assert "clock" in answer.json()["hint"]


def test_simulated_quote_never_satisfies_a_server_that_trusts_intel(
    make_local: Callable[..., LocalServer],
    simulation: Simulation,
    numbers: pa.Table,
    policy: clf.Policy,
) -> None:
    server = make_local("real", simulated=False)
    server.upload("t", numbers, policy)
    enclave = HandmadeEnclave(simulation, server, make_job([job_input(server.server_id, "t")]))
    refused(enclave.ask(), "anchor_mismatch")


def test_another_simulation_never_satisfies_a_simulated_server(
    enclave: HandmadeEnclave, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("other") / "tee"
    enclave.simulation = Simulation(directory, create_simulation(directory))
    refused(enclave.ask(), "anchor_mismatch")


def test_later_protocol_version_is_told_to_upgrade(enclave: HandmadeEnclave) -> None:
    evidence = enclave.evidence(enclave.binding(enclave.challenge()))
    body = {"evidence": evidence, "job": enclave.job.to_json() | {"clf": 2}}
    refused(enclave.server.control.post("/v1/sessions", json=body), "format_too_new")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"evidence": NaN}', b'{"job":1,"job":2}', b"\xff"]
)
def test_malformed_json_is_refused_by_name(server: LocalServer, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    refused(server.control.post("/v1/sessions", content=body, headers=headers), "malformed")
