"""Evidence of servers, with everything wrong that can be wrong (docs/protocol.md §6.5)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clf_sdk.attestation import (
    Binding,
    Collateral,
    EnclavePolicy,
    Evidence,
    FileCollateral,
    ServerBinding,
    ServerEvidence,
    SimulatedPlatform,
    TrustAnchor,
    VerifiedEnclave,
    verify_server,
)
from clf_sdk.errors import (
    AnchorMismatch,
    BindingMismatch,
    CollateralUnavailable,
    DebugEnclave,
    FormatTooNew,
    Malformed,
    MeasurementMismatch,
    ProductMismatch,
    ReportDataMismatch,
    ServerIdentityMismatch,
)
from clf_sdk.keys import PrivateKey, SigningKey, server_id

NOW = 1_800_000_000
MRENCLAVE = "5e" * 32
NONCE = "0a" * 32


@pytest.fixture(scope="module")
def platform() -> SimulatedPlatform:
    return SimulatedPlatform.generate(now=NOW)


@pytest.fixture(scope="module")
def identity() -> SigningKey:
    return SigningKey.generate()


@pytest.fixture
def binding(identity: SigningKey) -> ServerBinding:
    return ServerBinding(
        nonce=NONCE,
        server=server_id(identity.public_bytes),
        public_key=identity.public_bytes,
        certificate="ce" * 32,
    )


def quote(platform: SimulatedPlatform, report_data: bytes, **changes: Any) -> bytes:
    claims: dict[str, Any] = {
        "mrenclave": MRENCLAVE,
        "mrsigner": platform.mrsigner,
        "isv_prod_id": 2,
        "isv_svn": 1,
    }
    return platform.quote(report_data, **(claims | changes))


def evidence(platform: SimulatedPlatform, binding: ServerBinding, **changes: Any) -> ServerEvidence:
    return ServerEvidence(
        quote(platform, binding.report_data, **changes), binding, platform.collateral
    )


def verify(
    platform: SimulatedPlatform, shown: ServerEvidence, identity: SigningKey, **changes: Any
) -> VerifiedEnclave:
    # What crosses a wire is what a verifier reads.
    shown = ServerEvidence.from_json(shown.to_json())
    options: dict[str, Any] = {
        "nonce": NONCE,
        "server": server_id(identity.public_bytes),
        "policy": EnclavePolicy(mrenclave=MRENCLAVE),
        "anchor": TrustAnchor("simulation", platform.root_der),
        "collateral": None,
        "now": NOW,
    }
    return verify_server(shown, **(options | changes))


def test_server_that_is_what_is_expected_is_verified(
    platform: SimulatedPlatform, binding: ServerBinding, identity: SigningKey
) -> None:
    verified = verify(platform, evidence(platform, binding), identity)
    assert (verified.mrenclave, verified.mode) == (MRENCLAVE, "simulation")


def test_replayed_evidence_is_refused(
    platform: SimulatedPlatform, binding: ServerBinding, identity: SigningKey
) -> None:
    recorded = evidence(platform, binding)
    with pytest.raises(BindingMismatch, match="another nonce"):
        verify(platform, recorded, identity, nonce="0b" * 32)
    relabelled = replace(recorded, binding=replace(binding, nonce="0b" * 32))
    with pytest.raises(ReportDataMismatch):
        verify(platform, relabelled, identity, nonce="0b" * 32)


def test_evidence_of_another_identity_is_refused(
    platform: SimulatedPlatform, binding: ServerBinding, identity: SigningKey
) -> None:
    stranger = SigningKey.generate()
    theirs = replace(
        binding, server=server_id(stranger.public_bytes), public_key=stranger.public_bytes
    )
    claimed = replace(binding, public_key=stranger.public_bytes)  # the pinned id, their key
    for wrong in (theirs, claimed):
        with pytest.raises(ServerIdentityMismatch):
            verify(platform, evidence(platform, wrong), identity)
    borrowed = replace(evidence(platform, theirs), binding=binding)
    with pytest.raises(ReportDataMismatch):
        verify(platform, borrowed, identity)


def test_evidence_for_another_certificate_is_refused(
    platform: SimulatedPlatform, binding: ServerBinding, identity: SigningKey
) -> None:
    shown = replace(evidence(platform, binding), binding=replace(binding, certificate="ff" * 32))
    with pytest.raises(ReportDataMismatch):
        verify(platform, shown, identity)


def test_other_program_product_or_debug_build_is_refused(
    platform: SimulatedPlatform, binding: ServerBinding, identity: SigningKey
) -> None:
    with pytest.raises(MeasurementMismatch):
        verify(platform, evidence(platform, binding, mrenclave="0f" * 32), identity)
    with pytest.raises(DebugEnclave):
        verify(platform, evidence(platform, binding, debug=True), identity)
    signer = EnclavePolicy(mrsigner=platform.mrsigner, isv_prod_id=2, min_isv_svn=1)
    with pytest.raises(ProductMismatch):  # the enclave app, by the same signer
        verify(platform, evidence(platform, binding, isv_prod_id=1), identity, policy=signer)


def test_simulated_server_never_satisfies_intel_s_anchor(
    platform: SimulatedPlatform, binding: ServerBinding, identity: SigningKey
) -> None:
    with pytest.raises(AnchorMismatch):
        verify(platform, evidence(platform, binding), identity, anchor=TrustAnchor.intel())


def test_server_of_another_simulation_or_of_real_hardware_never_satisfies_a_simulation(
    platform: SimulatedPlatform, binding: ServerBinding, identity: SigningKey, vectors: Path
) -> None:
    other = SimulatedPlatform.generate(now=NOW)
    with pytest.raises(AnchorMismatch):
        verify(platform, evidence(other, binding), identity)
    real = ServerEvidence(
        (vectors / "intel_sgx_quote.bin").read_bytes(),
        binding,
        Collateral.from_file(vectors / "intel_sgx_collateral.json"),
    )
    with pytest.raises(AnchorMismatch):
        verify(platform, real, identity)


def test_evidence_of_an_enclave_s_run_is_none_of_a_server_nor_the_reverse(
    platform: SimulatedPlatform, binding: ServerBinding, identity: SigningKey
) -> None:
    run = Binding(
        nonce=NONCE,
        server=binding.server,
        run="00" * 16,
        job="11" * 32,
        hpke=PrivateKey.generate().public.to_document(),
        signing_key=identity.public_bytes,
    )
    of_a_run = Evidence(quote(platform, run.report_data), run, platform.collateral)
    of_a_server = evidence(platform, binding)
    with pytest.raises(Malformed, match="server-binding"):
        ServerEvidence.from_json(of_a_run.to_json())
    with pytest.raises(Malformed, match="enclave-binding"):
        Evidence.from_json(of_a_server.to_json())
    with pytest.raises(ReportDataMismatch):  # the quote of a run under the binding of a server
        verify(platform, replace(of_a_server, quote=of_a_run.quote), identity)
    # No field of one can be chosen so that both have the same report data: the type is signed.
    assert run.to_json()["type"] != binding.to_json()["type"]


def test_collateral_comes_from_the_caller_when_the_server_has_none(
    platform: SimulatedPlatform, binding: ServerBinding, identity: SigningKey, tmp_path: Path
) -> None:
    bare = replace(evidence(platform, binding), collateral=None)
    with pytest.raises(CollateralUnavailable, match="brings no collateral"):
        verify(platform, bare, identity)
    platform.save(tmp_path / "tee")
    source = FileCollateral(tmp_path / "tee" / "collateral.json")
    assert verify(platform, bare, identity, collateral=source).mrenclave == MRENCLAVE


@pytest.mark.parametrize(
    "change",
    [
        {"clf": 2},
        {"type": "enclave-binding"},
        {"nonce": "0A" * 32},
        {"nonce": "0a" * 31},
        {"server": None},
        {"certificate": 7},
        {"public_key": "AAAA"},
        {"public_key": "!"},
        {"extra": 1},
    ],
)
def test_binding_of_another_form_is_refused(
    platform: SimulatedPlatform, binding: ServerBinding, change: dict[str, Any]
) -> None:
    document = evidence(platform, binding).to_json()
    document["binding"] |= change
    with pytest.raises((Malformed, FormatTooNew)):
        ServerEvidence.from_json(document)
