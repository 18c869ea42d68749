from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from clf_sdk.attestation import EvidenceProvider, GramineProvider, SimulatedProvider
from clf_sdk.errors import EvidenceUnavailable, InvalidInput

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def device(tmp_path: Path) -> Path:
    (tmp_path / "attestation_type").write_text("dcap")
    (tmp_path / "user_report_data").write_bytes(bytes(64))
    (tmp_path / "quote").write_bytes(b"a quote")
    return tmp_path


def test_gramine_gets_all_64_bytes_before_the_quote_is_read(device: Path) -> None:
    provider: EvidenceProvider = GramineProvider(device)
    assert provider.quote(bytes(range(64))) == b"a quote"
    assert (device / "user_report_data").read_bytes() == bytes(range(64))
    assert (provider.mode, provider.collateral()) == ("dcap", None)


def test_gramine_quotes_of_parallel_sessions_are_not_mixed_up(device: Path) -> None:
    """A device of pipes: each quote is whatever was written last, and must be written at once."""
    sessions = 32
    for name in ("user_report_data", "quote"):
        (device / name).unlink()
        os.mkfifo(device / name)
    writes: list[bytes] = []

    def serve() -> None:
        for _ in range(sessions):
            with (device / "user_report_data").open("rb", buffering=0) as pipe:
                writes.append(pipe.read(4096))
                assert pipe.read(1) == b"", "a second writer came in between"
            with (device / "quote").open("wb", buffering=0) as pipe:
                pipe.write(writes[-1])

    server = threading.Thread(target=serve, daemon=True)
    server.start()
    provider = GramineProvider(device)
    wanted = [bytes([i]) * 64 for i in range(sessions)]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(provider.quote, wanted, timeout=30))
    server.join(10)
    assert got == wanted
    assert sorted(writes) == wanted


def test_gramine_absent_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EvidenceUnavailable, match="gramine-sgx"):
        GramineProvider(tmp_path / "nothing").quote(bytes(64))


def test_gramine_without_dcap_is_refused(device: Path) -> None:
    (device / "attestation_type").write_text("none")
    with pytest.raises(EvidenceUnavailable, match="type 'none', not dcap"):
        GramineProvider(device).quote(bytes(64))


def test_gramine_with_an_empty_quote_is_refused(device: Path) -> None:
    (device / "quote").write_bytes(b"")
    with pytest.raises(EvidenceUnavailable, match="no usable quote"):
        GramineProvider(device).quote(bytes(64))


@pytest.mark.parametrize("report_data", [b"", bytes(63), bytes(65), "0" * 64])
def test_report_data_has_64_bytes(device: Path, bench: Any, report_data: Any) -> None:
    simulated = SimulatedProvider(
        bench.platform, mrenclave="ab" * 32, mrsigner="cd" * 32, isv_prod_id=1, isv_svn=1
    )
    providers: list[EvidenceProvider] = [GramineProvider(device), simulated]
    for provider in providers:
        with pytest.raises(InvalidInput):
            provider.quote(report_data)


def test_simulated_provider_makes_quotes_that_verify_and_says_what_it_is(
    bench: Any, caplog: pytest.LogCaptureFixture
) -> None:
    provider: EvidenceProvider = SimulatedProvider(
        bench.platform,
        mrenclave="ab" * 32,
        mrsigner=bench.platform.mrsigner,
        isv_prod_id=7,
        isv_svn=3,
    )
    assert "INSECURE SIMULATION" in caplog.text
    assert "INSECURE SIMULATION" in repr(provider)
    assert provider.mode == "simulation"
    enclave = bench.verify(provider.quote(bench.report_data), collateral=provider.collateral())
    assert enclave.mode == "simulation"
