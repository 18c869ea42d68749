from __future__ import annotations

import subprocess
import sys

from clf_sdk import attestation


def test_public_surface_is_pinned() -> None:
    assert sorted(attestation.__all__) == [
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
        "TCB_STATUSES",
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
    assert all(hasattr(attestation, name) for name in attestation.__all__)


def test_import_is_light() -> None:
    heavy = ("requests", "pandas", "pyarrow", "numpy", "asyncio")
    code = f"import sys, clf_sdk.attestation; print([m for m in {heavy} if m in sys.modules])"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert output.strip() == "[]"
