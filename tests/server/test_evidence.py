"""The server's own evidence, from the server's side (docs/protocol.md §6.5)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from clf_sdk.attestation import ServerBinding, ServerEvidence, SimulatedProvider
from clf_sdk.errors import ConfigurationError, NotReady
from clf_sdk.keys import SigningKey
from clf_server._certificates import certificate_digest
from clf_server._evidence import ServerProof
from clf_testing import HandmadeEnclave, LocalServer, Simulation

NONCE = "0a" * 32


def configure(local: LocalServer, **settings: object) -> None:
    path = local.directory / "clf_server.conf"
    lines = "".join(f"{key} = {value}\n" for key, value in settings.items())
    path.write_text(path.read_text() + lines)
    local.close()
    local.restart()


def test_evidence_is_bound_to_nonce_identity_and_certificate(
    local: LocalServer, simulation: Simulation
) -> None:
    configure(local, insecure_simulated_evidence=simulation.directory)
    answer = local.control.get("/v1/evidence", params={"nonce": NONCE})
    binding = ServerEvidence.from_json(answer.json()).binding
    assert binding == ServerBinding(
        nonce=NONCE,
        server=local.server_id,
        public_key=local.state.identity.public_bytes,
        certificate=certificate_digest(local.directory / "tls" / "server.pem"),
    )


@pytest.mark.parametrize("nonce", ["", "0a", "0A" * 32, "zz" * 32, "0a" * 33])
def test_nonce_of_another_form_is_a_bad_request(local: LocalServer, nonce: str) -> None:
    answer = local.control.get("/v1/evidence", params={"nonce": nonce})
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")


def test_server_outside_an_enclave_says_that_it_proves_nothing(local: LocalServer) -> None:
    answer = local.control.get("/v1/evidence", params={"nonce": NONCE})
    assert (answer.status_code, answer.json()["code"]) == (403, "evidence_unavailable")


def test_gramine_s_evidence_is_made_inside_gramine_only(local: LocalServer, tmp_path: Path) -> None:
    configure(local, evidence="gramine", attestation_path=tmp_path / "none")
    answer = local.control.get("/v1/evidence", params={"nonce": NONCE})
    assert (answer.status_code, answer.json()["code"]) == (403, "evidence_unavailable")
    assert "gramine-sgx" in answer.json()["hint"]


def test_real_and_simulated_evidence_exclude_each_other(
    local: LocalServer, simulation: Simulation
) -> None:
    with pytest.raises(ConfigurationError, match="not both"):
        configure(local, evidence="gramine", insecure_simulated_evidence=simulation.directory)


def test_evidence_of_a_server_opens_no_session(
    local: LocalServer,
    enclave: HandmadeEnclave,
    simulation: Simulation,
    refused: Callable[..., tuple[int, str]],
) -> None:
    """A server binding never passes as an enclave's, nor does its quote under one."""
    binding = ServerBinding(
        enclave.challenge(), local.server_id, local.state.identity.public_bytes, "ce" * 32
    )
    shown = ServerEvidence.make(binding, simulation.provider()).to_json()
    body = {"evidence": shown, "job": enclave.job.to_json()}
    assert refused(local.control.post("/v1/sessions", json=body)) == (400, "malformed")
    genuine = enclave.evidence(enclave.binding(enclave.challenge()))
    body["evidence"] = genuine | {"quote": shown["quote"]}
    assert refused(local.control.post("/v1/sessions", json=body)) == (403, "report_data_mismatch")


def test_many_questions_at_once_do_not_queue_for_quotes(
    simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    proof = ServerProof(simulation.provider(), None)
    waiting, go_on = threading.Semaphore(0), threading.Event()
    quote = SimulatedProvider.quote

    def slow(provider: SimulatedProvider, report_data: bytes) -> bytes:
        waiting.release()
        assert go_on.wait(20)
        return quote(provider, report_data)

    monkeypatch.setattr(SimulatedProvider, "quote", slow)
    identity = SigningKey.generate()

    def ask() -> ServerEvidence:
        return proof.make(NONCE, identity=identity, certificate="ce" * 32, now=0)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert waiting.acquire(timeout=20)
    with pytest.raises(NotReady):
        ask()
    go_on.set()
    for thread in threads:
        thread.join()
    assert ask().binding.nonce == NONCE
