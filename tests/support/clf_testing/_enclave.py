"""An enclave that speaks the protocol by hand, so that a test can get every step wrong."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

import httpx2 as httpx

from clf_sdk.attestation import Binding, Evidence
from clf_sdk.keys import PrivateKey, SigningKey
from clf_sdk.protocol import (
    JobDocument,
    SessionAnswer,
    SessionKeys,
    parse_json,
    session_keys_info,
)
from clf_testing._local import LocalServer
from clf_testing._simulation import Simulation


@dataclass
class HandmadeEnclave:
    """One run of one job against one server in this process.

    The owner agrees to every job that it asks to run, unless ``agreed`` is false.
    """

    simulation: Simulation
    server: LocalServer
    job: JobDocument
    run: str = field(default_factory=lambda: secrets.token_hex(16))
    agreed: bool = True
    secrets: list[str] = field(default_factory=list)
    hpke: PrivateKey = field(default_factory=PrivateKey.generate)
    signing: SigningKey = field(default_factory=SigningKey.generate)

    def another(self, job: JobDocument) -> HandmadeEnclave:
        """Return an enclave that begins a run of another job at the same server."""
        return HandmadeEnclave(self.simulation, self.server, job, agreed=self.agreed)

    def challenge(self) -> str:
        answer = self.server.control.post("/v1/challenges")
        assert answer.status_code == 200, answer.text
        return str(answer.json()["nonce"])

    def binding(self, nonce: str, **changes: Any) -> Binding:
        fields: dict[str, Any] = {
            "nonce": nonce,
            "server": self.server.server_id,
            "run": self.run,
            "job": self.job.digest,
            "hpke": self.hpke.public.to_document(),
            "signing_key": self.signing.public_bytes,
        }
        return Binding(**(fields | changes))

    def evidence(self, binding: Binding) -> dict[str, Any]:
        provider = self.simulation.provider()
        quote = provider.quote(binding.report_data)
        return Evidence(quote, binding, provider.collateral()).to_json()

    def post(
        self, evidence: dict[str, Any], *, job: JobDocument | None = None, to: Any = None
    ) -> httpx.Response:
        """Post evidence and a job, to this enclave's server by default."""
        wanted, server = job or self.job, to or self.server
        if self.agreed:
            server.agree(wanted)
        body = {"evidence": evidence, "job": wanted.to_json(), "secrets": self.secrets}
        answer: httpx.Response = server.control.post("/v1/sessions", json=body)
        return answer

    def ask(self, **changes: Any) -> httpx.Response:
        """Ask for a session with a fresh nonce and a binding that differs as told."""
        return self.post(self.evidence(self.binding(self.challenge(), **changes)))

    def open(self) -> SessionAnswer:
        answer = self.ask()
        assert answer.status_code == 200, answer.text
        return SessionAnswer.parse(answer.json())

    def keys(self, answer: SessionAnswer) -> SessionKeys:
        session = answer.session
        info = session_keys_info(
            binding=session.binding, server=session.server, session=session.session
        )
        plaintext = self.hpke.open(answer.access.keys.to_json(), info=info)
        return SessionKeys.parse(parse_json(plaintext, what="keys"))
