"""What a server must prove before it is told anything (docs/protocol.md §6.5)."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clf_sdk.attestation import (
    CollateralSource,
    EnclavePolicy,
    ServerEvidence,
    TrustAnchor,
    VerifiedEnclave,
    verify_server,
)
from clf_sdk.errors import ConfigurationError
from clf_sdk.protocol import ServerEvidenceDocument

if TYPE_CHECKING:
    from clf_sdk._http import HttpClient

_NONCE_BYTES = 32


@dataclass(frozen=True)
class ExpectedServer:
    """A program, the root under which it must be proved, and a source of collateral.

    Raises
    ------
    ConfigurationError
        What is expected is no `EnclavePolicy`.
    """

    policy: EnclavePolicy
    anchor: TrustAnchor | None
    collateral: CollateralSource | None

    def __post_init__(self) -> None:
        if not isinstance(self.policy, EnclavePolicy):
            raise ConfigurationError("expect must be a clf.EnclavePolicy")

    def verify(self, http: HttpClient, *, server: str) -> VerifiedEnclave:
        """Have a server prove itself, and talk to what it proved to be only.

        Parameters
        ----------
        http
            To the server.
        server
            The server id that is pinned.

        Raises
        ------
        ServerIdentityMismatch
            Another server answers.
        AttestationError
            It did not prove that it is what is expected.
        """
        # 1. A nonce of our own, asked without the token.
        nonce = secrets.token_hex(_NONCE_BYTES)
        answer = http.ask_a_stranger(
            ServerEvidenceDocument, "/v1/evidence", params={"nonce": nonce, "server": server}
        )
        evidence = ServerEvidence.from_json(answer.to_json())

        # 2. to 4. The answer is to this nonce, of this server, and proves the program.
        verified = verify_server(
            evidence,
            nonce=nonce,
            server=server,
            policy=self.policy,
            anchor=self.anchor or TrustAnchor.intel(),
            collateral=self.collateral,
            now=int(time.time()),
        )

        # 5. From now on nothing is told to whoever shows another certificate.
        http.pin(evidence.binding.certificate)
        return verified
