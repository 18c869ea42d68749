"""The benchmarks run and say what they promise to say; their figures are no tests."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.whole
ROOT = Path(__file__).parents[2]


def _run(*arguments: str) -> dict[str, object]:
    ran = subprocess.run(
        [sys.executable, "-m", *arguments, "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, object] = json.loads(ran.stdout)
    return found


def test_transfer_reports_every_figure() -> None:
    found = _run("benchmarks.transfer", "--size-mib", "2", "--repeats", "1")
    ratios, memory = found["ratios"], found["memory"]
    assert isinstance(ratios, dict)
    assert isinstance(memory, dict)
    assert {
        "pull_vs_flight_tls",
        "pull_vs_flight_plain",
        "share_vs_flight_tls",
        "share_vs_encrypted_parquet",
    } <= set(ratios)
    assert {"server_mib", "enclave_overhead_percent", "processes"} <= set(memory)


def test_attestation_reports_every_figure() -> None:
    found = _run("benchmarks.attestation", "--sessions", "2")
    assert {"sessions_per_second", "session_over_verification"} <= set(found)


def test_analyses_report_every_figure() -> None:
    sizes = ["--rows", "2000", "--join-rows", "2000", "--repeats", "1", "--size-gib", "0.01"]
    found = _run("benchmarks.analyses", *sizes, "--memory-gib", "0.25")
    for part in ("whole_run", "join"):
        figures = found[part]
        assert isinstance(figures, dict)
        assert figures["ratio"] > 0
