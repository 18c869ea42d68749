"""Remote attestation: evidence, its verification, and a simulated TEE for machines without SGX."""

from clf_sdk.attestation._anchor import TrustAnchor
from clf_sdk.attestation._binding import Binding
from clf_sdk.attestation._collateral import Collateral
from clf_sdk.attestation._collateral_source import CollateralSource, FileCollateral
from clf_sdk.attestation._enclave import VerifiedEnclave
from clf_sdk.attestation._evidence import Evidence
from clf_sdk.attestation._library import TCB_STATUSES
from clf_sdk.attestation._pccs import PccsCollateral
from clf_sdk.attestation._policy import EnclavePolicy
from clf_sdk.attestation._provider import EvidenceProvider, GramineProvider, SimulatedProvider
from clf_sdk.attestation._quote import QuoteFields, parse_quote
from clf_sdk.attestation._ratls import RatlsEvidence, evidence_from_ratls_certificate
from clf_sdk.attestation._server_binding import ServerBinding
from clf_sdk.attestation._server_evidence import ServerEvidence, verify_server
from clf_sdk.attestation._sigstruct import Sigstruct, parse_sigstruct
from clf_sdk.attestation._simulated_platform import (
    SimulatedPlatform,
    create_simulation,
    simulated_measurement,
)
from clf_sdk.attestation._verify import check_program, verify_quote

__all__ = [
    "TCB_STATUSES",
    "Binding",
    "Collateral",
    "CollateralSource",
    "EnclavePolicy",
    "Evidence",
    "EvidenceProvider",
    "FileCollateral",
    "GramineProvider",
    "PccsCollateral",
    "QuoteFields",
    "RatlsEvidence",
    "ServerBinding",
    "ServerEvidence",
    "Sigstruct",
    "SimulatedPlatform",
    "SimulatedProvider",
    "TrustAnchor",
    "VerifiedEnclave",
    "check_program",
    "create_simulation",
    "evidence_from_ratls_certificate",
    "parse_quote",
    "parse_sigstruct",
    "simulated_measurement",
    "verify_quote",
    "verify_server",
]
