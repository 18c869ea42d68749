from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from clf_sdk.attestation import (
    Collateral,
    EnclavePolicy,
    TrustAnchor,
    evidence_from_ratls_certificate,
    parse_quote,
    verify_quote,
)
from clf_sdk.errors import AnchorMismatch, CollateralExpired, DebugEnclave, TcbStatusRefused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FIRST, LAST = 1750330571, 1752919278
MRENCLAVE = "33d8736db756ed4997e04ba358d27833188f1932ff7b1d156904d3f560452fbb"
REPORT_DATA = b"Hello, world!".ljust(64, b"\0")
STATUS = "ConfigurationAndSWHardeningNeeded"


@pytest.fixture
def real(vectors: Path) -> Callable[..., Any]:
    return partial(
        verify_quote,
        (vectors / "intel_sgx_quote.bin").read_bytes(),
        Collateral.from_file(vectors / "intel_sgx_collateral.json"),
        report_data=REPORT_DATA,
        anchor=TrustAnchor.intel(),
    )


ALLOWING = EnclavePolicy(mrenclave=MRENCLAVE, tcb_statuses=frozenset({"UpToDate", STATUS}))


@pytest.mark.parametrize("now", [FIRST, (FIRST + LAST) // 2, LAST])
def test_real_quote_verifies_inside_its_window(real: Callable[..., Any], now: int) -> None:
    enclave = real(policy=ALLOWING, now=now)
    assert enclave.mrenclave == MRENCLAVE
    assert enclave.mrsigner.startswith("815f42f1")
    assert (enclave.isv_prod_id, enclave.isv_svn) == (0, 0)
    assert enclave.tcb_status == STATUS
    assert enclave.advisories == ("INTEL-SA-00289", "INTEL-SA-00615")
    assert (enclave.fmspc, enclave.mode, enclave.verified_at) == ("00a067110000", "dcap", now)


@pytest.mark.parametrize("now", [FIRST - 1, LAST + 1])
def test_real_quote_is_refused_one_second_outside_its_window(
    real: Callable[..., Any], now: int
) -> None:
    with pytest.raises(CollateralExpired, match="2025-06-19 10:56:11Z to 2025-07-19 10:01:18Z"):
        real(policy=ALLOWING, now=now)


def test_default_policy_refuses_the_real_platform_and_names_status_and_advisories(
    real: Callable[..., Any],
) -> None:
    with pytest.raises(TcbStatusRefused, match=f"{STATUS}.*INTEL-SA-00289, INTEL-SA-00615"):
        real(policy=EnclavePolicy(mrenclave=MRENCLAVE), now=FIRST)


def test_collateral_window_is_the_one_that_verification_observes(vectors: Path) -> None:
    collateral = Collateral.from_file(vectors / "intel_sgx_collateral.json")
    assert collateral.window == (FIRST, LAST)


def test_debug_enclave_on_real_hardware_is_always_refused(vectors: Path) -> None:
    quote = (vectors / "intel_sgx_debug_quote.bin").read_bytes()
    fields = parse_quote(quote)
    assert fields.debug
    everything = frozenset(
        [
            "UpToDate",
            "SWHardeningNeeded",
            "ConfigurationNeeded",
            "ConfigurationAndSWHardeningNeeded",
            "OutOfDate",
            "OutOfDateConfigurationNeeded",
        ]
    )
    with pytest.raises(DebugEnclave):
        verify_quote(
            quote,
            Collateral.from_file(vectors / "intel_sgx_collateral_00606A000000.json"),
            policy=EnclavePolicy(mrenclave=fields.mrenclave, tcb_statuses=everything),
            report_data=bytes.fromhex(fields.report_data),
            anchor=TrustAnchor.intel(),
            now=1756000000,
        )


def test_simulated_gramine_certificate_is_refused_under_intels_root(vectors: Path) -> None:
    evidence = evidence_from_ratls_certificate(
        (vectors / "gramine_ratls_cert_simquote.der").read_bytes()
    )
    with pytest.raises(AnchorMismatch, match="Intel SGX Root CA"):
        verify_quote(
            evidence.quote,
            Collateral.from_file(vectors / "intel_sgx_collateral.json"),
            policy=EnclavePolicy(mrenclave=parse_quote(evidence.quote).mrenclave),
            report_data=evidence.report_data,
            anchor=TrustAnchor.intel(),
            now=FIRST,
        )


def test_real_quote_is_refused_under_a_simulated_root(vectors: Path, bench: Any) -> None:
    with pytest.raises(AnchorMismatch, match="INSECURE SIMULATION"):
        verify_quote(
            (vectors / "intel_sgx_quote.bin").read_bytes(),
            Collateral.from_file(vectors / "intel_sgx_collateral.json"),
            policy=ALLOWING,
            report_data=REPORT_DATA,
            anchor=bench.anchor,
            now=FIRST,
        )
