"""The server's own evidence: what runs here, for whoever is about to give it data (§6.5)."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import clf_sdk
import clf_server
from clf_sdk.attestation import (
    CollateralSource,
    EvidenceProvider,
    GramineProvider,
    ServerBinding,
    ServerEvidence,
    SimulatedPlatform,
    SimulatedProvider,
    simulated_measurement,
)
from clf_sdk.errors import ConfigurationError, EvidenceUnavailable, NotReady
from clf_sdk.keys import SigningKey, server_id
from clf_server._config import ServerConfig

SIMULATED_PROD_ID = 2
SIMULATED_SVN = 1
_MOST_AT_ONCE = 4


def program_measurement() -> str:
    """Stand-in for MRENCLAVE in a simulation: digest of the server's own source files."""
    roots = [Path(package.__path__[0]) for package in (clf_sdk, clf_server)]
    return simulated_measurement(roots)


def evidence_provider(config: ServerConfig) -> EvidenceProvider | None:
    """Return where the server's own quotes come from; None when it does not prove itself.

    Raises
    ------
    ConfigurationError
        The settings contradict each other.
    EvidenceUnavailable
        The simulated platform can't be read.
    """
    simulated = config.insecure_simulated_evidence
    if config.evidence == "gramine":
        if simulated is not None:
            raise ConfigurationError("set evidence or insecure_simulated_evidence, not both")
        return GramineProvider(config.attestation_path)
    if simulated is None:
        return None
    platform = SimulatedPlatform.load(simulated)
    return SimulatedProvider(
        platform,
        mrenclave=program_measurement(),
        mrsigner=platform.mrsigner,
        isv_prod_id=SIMULATED_PROD_ID,
        isv_svn=SIMULATED_SVN,
    )


class ServerProof:
    """Makes evidence of this server, for each question anew.

    Parameters
    ----------
    provider
        Where quotes come from; None when the server runs in no enclave.
    collateral
        Where collateral to attach comes from, when the provider has none.
    """

    def __init__(
        self, provider: EvidenceProvider | None, collateral: CollateralSource | None
    ) -> None:
        self._provider = provider
        self._collateral = collateral
        self._places = threading.BoundedSemaphore(_MOST_AT_ONCE)

    def make(
        self, nonce: str, *, identity: SigningKey, certificate: str, now: int
    ) -> ServerEvidence:
        """Make evidence that answers a nonce.

        Parameters
        ----------
        nonce
            The caller's, 64 hex digits.
        identity
            The server's identity key.
        certificate
            SHA-256 of the certificate that the control listener shows, in hex.
        now
            Unix time.

        Raises
        ------
        EvidenceUnavailable
            The server runs in no enclave, or can't obtain a quote.
        NotReady
            Too many ask at once: anyone may, and quotes are slow.
        """
        if self._provider is None:
            raise EvidenceUnavailable(
                "this server does not prove itself",
                hint="its operator can run it in SGX, with evidence = gramine",
            )
        if not self._places.acquire(blocking=False):
            raise NotReady("the server makes evidence for others just now", hint="ask again")
        try:
            binding = ServerBinding(
                nonce=nonce,
                server=server_id(identity.public_bytes),
                public_key=identity.public_bytes,
                certificate=certificate,
            )
            made = ServerEvidence.make(binding, self._provider)
            if made.collateral is None and self._collateral is not None:
                attached = self._collateral.collateral_for(made.quote, now=now)
                made = replace(made, collateral=attached)
        finally:
            self._places.release()
        return made
