"""Hardware and simulation never pass for each other, over HTTP, at servers that are processes."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_sdk.attestation import Binding, Collateral, EnclavePolicy, Evidence, parse_quote
from clf_sdk.errors import AnchorMismatch, CollateralExpired
from clf_sdk.keys import PrivateKey, SigningKey
from clf_sdk.protocol import Challenge, SessionAnswer
from clf_testing import Owner, Simulation, job_input, make_job

Connect = Callable[..., clf.Connection]
Prove = Callable[[bytes], tuple[bytes, Collateral | None]]


def _ask(connection: clf.Connection, prove: Prove, *, table: str = "t") -> SessionAnswer:
    """Ask for a session with evidence that ``prove`` makes over the report data."""
    http = connection.http
    job = make_job([job_input(connection.server, table)])
    binding = Binding(
        nonce=http.ask(Challenge, "POST", "/v1/challenges").nonce,
        server=connection.server,
        run=secrets.token_hex(16),
        job=job.digest,
        hpke=PrivateKey.generate().public.to_document(),
        signing_key=SigningKey.generate().public_bytes,
    )
    quote, collateral = prove(binding.report_data)
    evidence = Evidence(quote, binding, collateral).to_json()
    body = {"evidence": evidence, "job": job.to_json()}
    return http.ask(SessionAnswer, "POST", "/v1/sessions", json=body)


@pytest.fixture(scope="module")
def hardware(make_owner: Callable[..., Owner]) -> Owner:
    """Return an owner that trusts Intel's root."""
    return make_owner("hardware", simulated=False)


@pytest.fixture
def real(vectors: Path) -> tuple[bytes, Collateral]:
    """Return a quote of real SGX hardware with Intel's own collateral."""
    return (
        (vectors / "intel_sgx_quote.bin").read_bytes(),
        Collateral.from_file(vectors / "intel_sgx_collateral.json"),
    )


def test_quote_of_real_hardware_never_satisfies_a_simulated_server(
    clinic: Owner, connect: Connect, numbers: pa.Table, real: tuple[bytes, Collateral]
) -> None:
    policy = clf.Policy(
        enclave=EnclavePolicy(mrenclave=parse_quote(real[0]).mrenclave), operations=["glm"]
    )
    connection = connect(clinic)
    clf.share(numbers, name="for-hardware", policy=policy, to=connection)
    with pytest.raises(AnchorMismatch):
        _ask(connection, lambda _report_data: real, table="for-hardware")


def test_simulated_quote_never_satisfies_a_server_that_trusts_intel(
    hardware: Owner,
    connect: Connect,
    numbers: pa.Table,
    policy: clf.Policy,
    simulation: Simulation,
    real: tuple[bytes, Collateral],
) -> None:
    connection = connect(hardware)
    clf.share(numbers, name="t", policy=policy, to=connection)
    provider = simulation.provider()
    with pytest.raises(AnchorMismatch):
        _ask(connection, lambda data: (provider.quote(data), provider.collateral()))
    with pytest.raises(AnchorMismatch):
        _ask(connection, lambda data: (provider.quote(data), real[1]))
    # Under its own root the real quote gets further: what it lacks is collateral of today.
    with pytest.raises(CollateralExpired):
        _ask(connection, lambda _report_data: real)
