from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from clf_sdk.attestation import TrustAnchor
from clf_sdk.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

# Published by Intel; the same root signs every genuine PCK certificate.
INTEL = "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3"


def test_intel_anchor_is_intels_root() -> None:
    anchor = TrustAnchor.intel()
    assert (anchor.mode, anchor.fingerprint) == ("dcap", INTEL)
    assert "SIMULATION" not in repr(anchor)


def test_intels_root_can_not_be_declared_a_simulation(tmp_path: Path) -> None:
    root = x509.load_der_x509_certificate(TrustAnchor.intel().root_der)
    pem = root.public_bytes(Encoding.PEM)
    (tmp_path / "anchor.pem").write_bytes(pem)
    for anchor in (pem, tmp_path / "anchor.pem", str(tmp_path / "anchor.pem")):
        with pytest.raises(ConfigurationError, match="Intel's root"):
            TrustAnchor.insecure_simulation(anchor)
    with pytest.raises(ConfigurationError, match="Intel's root"):
        TrustAnchor("simulation", TrustAnchor.intel().root_der)


def test_simulated_root_can_not_be_declared_hardware(bench: Any) -> None:
    with pytest.raises(ConfigurationError, match="hardware"):
        TrustAnchor("dcap", bench.anchor.root_der)


def test_simulated_anchor_says_so_and_warns_each_time(
    bench: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        anchors = [TrustAnchor.insecure_simulation(bench.platform.anchor_pem) for _ in range(2)]
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    assert all("INSECURE SIMULATION" in record.message for record in caplog.records)
    assert all("INSECURE SIMULATION" in repr(anchor) for anchor in anchors)
    assert anchors[0] == bench.anchor


def test_no_environment_variable_changes_the_anchor(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CLF_SIMULATION", "SGX_MODE", "RA_TLS_ALLOW_DEBUG_ENCLAVE_INSECURE"):
        monkeypatch.setenv(name, "1")
    assert TrustAnchor.intel().fingerprint == INTEL


def test_anchor_that_can_not_be_read_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_bytes(b"")
    for anchor in (tmp_path / "missing.pem", tmp_path / "empty.pem", b"nothing"):
        with pytest.raises(ConfigurationError, match="can't be read"):
            TrustAnchor.insecure_simulation(anchor)
    with pytest.raises(ConfigurationError):
        TrustAnchor("none", b"")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError):
        TrustAnchor("simulation", b"not DER")
