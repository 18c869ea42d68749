"""The evidence by which a server proves itself, and its verification (docs/protocol.md §6.5)."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Any

from clf_sdk.attestation._anchor import TrustAnchor
from clf_sdk.attestation._collateral import Collateral
from clf_sdk.attestation._collateral_source import CollateralSource
from clf_sdk.attestation._enclave import VerifiedEnclave
from clf_sdk.attestation._evidence import evidence_document, parse_evidence
from clf_sdk.attestation._policy import EnclavePolicy
from clf_sdk.attestation._provider import EvidenceProvider
from clf_sdk.attestation._server_binding import ServerBinding
from clf_sdk.attestation._verify import verify_quote
from clf_sdk.errors import BindingMismatch, CollateralUnavailable, ServerIdentityMismatch
from clf_sdk.keys import server_id


@dataclass(frozen=True)
class ServerEvidence:
    """A quote, the server binding that it signs and, if there is any, collateral. Unverified."""

    quote: bytes
    binding: ServerBinding
    collateral: Collateral | None = None

    @classmethod
    def make(cls, binding: ServerBinding, provider: EvidenceProvider) -> ServerEvidence:
        """Make evidence for the process that this runs in.

        Raises
        ------
        EvidenceUnavailable
            It can't obtain a quote.
        """
        return cls(provider.quote(binding.report_data), binding, provider.collateral())

    def to_json(self) -> dict[str, Any]:
        """Return the document."""
        return evidence_document(self.quote, self.binding.to_json(), self.collateral)

    @classmethod
    def from_json(cls, document: Any) -> ServerEvidence:
        """Read the document; see `Evidence.from_json` for limits and errors."""
        quote, binding, collateral = parse_evidence(document)
        return cls(quote, ServerBinding.from_json(binding), collateral)


def verify_server(
    evidence: ServerEvidence,
    *,
    nonce: str,
    server: str,
    policy: EnclavePolicy,
    anchor: TrustAnchor,
    collateral: CollateralSource | None,
    now: int,
) -> VerifiedEnclave:
    """Verify that a server is the pinned one and runs the expected program (steps 2 to 4).

    Parameters
    ----------
    evidence
        What the server answered.
    nonce
        What it was asked with.
    server
        The server id that is pinned.
    policy
        The program that is expected.
    anchor
        The root that is trusted.
    collateral
        Where collateral comes from when the server attaches none.
    now
        Unix time.

    Raises
    ------
    BindingMismatch
        The evidence was made for another question.
    ServerIdentityMismatch
        It is that of another server.
    AttestationError
        The server did not prove that it runs the program.
    """
    binding = evidence.binding

    # 2. It was made for this question.
    if not hmac.compare_digest(binding.nonce, nonce):
        raise BindingMismatch(
            "the server's evidence was made for another nonce", hint="it may be a replayed one"
        )

    # 3. It is about the identity that is pinned.
    if binding.server != server or server_id(binding.public_key) != server:
        raise ServerIdentityMismatch(
            "the evidence is that of another server than the profile's",
            hint="ask the server's operator for the current profile",
        )

    # 4. A quote over this binding holds under the caller's policy.
    attached = evidence.collateral
    if attached is None:
        if collateral is None:
            raise CollateralUnavailable(
                "the server's evidence brings no collateral",
                hint="give a source of your own: collateral=PccsCollateral(url)",
            )
        attached = collateral.collateral_for(evidence.quote, now=now)
    return verify_quote(
        evidence.quote,
        attached,
        policy=policy,
        report_data=binding.report_data,
        anchor=anchor,
        now=now,
    )
