"""Servers that prove themselves before they are told anything, and impostors, on real ports."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

import clf_sdk as clf
from clf_sdk._cli import main
from clf_sdk._server_process import free_port
from clf_sdk.attestation import EnclavePolicy, ServerEvidence, TrustAnchor
from clf_sdk.errors import (
    AnchorMismatch,
    AttestationError,
    BindingMismatch,
    ConfigurationError,
    EvidenceUnavailable,
    InvalidInput,
    Malformed,
    MeasurementMismatch,
    ReportDataMismatch,
    ServerIdentityMismatch,
)
from clf_sdk.protocol import Profile
from clf_server._certificate_files import make_certificates
from clf_server._cli import server as server_commands
from clf_server._evidence import SIMULATED_PROD_ID, program_measurement
from clf_testing import (
    Exchange,
    HandmadeEnclave,
    LocalServer,
    Owner,
    Relay,
    Simulation,
    job_input,
    make_job,
)

PUBLIC_HOST = "127.0.0.2"


@pytest.fixture(scope="module")
def proving(make_owner: Callable[..., Owner], simulation: Simulation) -> Owner:
    """Start a server that proves itself by a simulated TEE."""
    settings = {"insecure_simulated_evidence": str(simulation.directory)}
    return make_owner("proving", settings=settings)


@pytest.fixture
def anchor(simulation: Simulation) -> TrustAnchor:
    return TrustAnchor.insecure_simulation(simulation.anchor)


@pytest.fixture
def expected() -> EnclavePolicy:
    return EnclavePolicy(mrenclave=program_measurement())


def told(relay: Relay) -> list[str]:
    """Return the paths of requests that carried the token or a body."""
    return [each.path for each in relay.seen if "Authorization" in each.headers or each.request]


def test_server_proves_itself_before_it_sees_the_token(
    proving: Owner, expected: EnclavePolicy, anchor: TrustAnchor
) -> None:
    with proving.control.attacked() as relay:
        connection = clf.connect(proving.process.owner, expect=expected, anchor=anchor)
        connection.tables()
        connection.close()
    first = relay.seen[0]
    assert first.path.startswith("/v1/evidence?nonce=")
    assert "Authorization" not in first.headers
    assert told(relay) == ["/v1/info", "/v1/tables"]
    assert connection.attested is not None
    assert connection.attested.mrenclave == expected.mrenclave
    assert f"attested as {str(expected.mrenclave)[:12]}… by a SIMULATION" in repr(connection)


def test_each_upload_asks_anew(
    proving: Owner,
    expected: EnclavePolicy,
    anchor: TrustAnchor,
    numbers: pa.Table,
    policy: clf.Policy,
) -> None:
    connection = clf.connect(proving.process.owner, expect=expected, anchor=anchor)
    with proving.control.attacked() as relay:
        for _ in range(2):
            clf.share(numbers, name="proved", policy=policy, to=connection, progress=False)
    asked = [each.path for each in relay.seen if "/v1/evidence" in each.path]
    assert len(set(asked)) == len(asked) == 2
    connection.close()


def test_server_whose_program_is_exchanged_meanwhile_gets_no_upload(
    proving: Owner,
    simulation: Simulation,
    expected: EnclavePolicy,
    anchor: TrustAnchor,
    numbers: pa.Table,
    policy: clf.Policy,
) -> None:
    """The host keeps certificate and identity key, and starts another program with them."""

    def other_program(exchange: Exchange) -> None:
        shown = ServerEvidence.from_json(json.loads(exchange.answer))
        quote = simulation.provider(mrenclave="0f" * 32).quote(shown.binding.report_data)
        forged = ServerEvidence(quote, shown.binding, shown.collateral)
        exchange.answer = json.dumps(forged.to_json()).encode()

    connection = clf.connect(proving.process.owner, expect=expected, anchor=anchor)
    with (
        proving.control.attacked(after=other_program) as relay,
        pytest.raises(MeasurementMismatch),
    ):
        clf.share(numbers, name="secret", policy=policy, to=connection)
    assert told(relay) == []
    connection.close()


def refused(proving: Owner, error: type[Exception], attack: dict[str, Any], **options: Any) -> None:
    with proving.control.attacked(**attack) as relay, pytest.raises(error):
        clf.connect(proving.process.owner, **options)
    assert told(relay) == []


def test_replayed_evidence_of_the_true_server_is_refused(
    proving: Owner, expected: EnclavePolicy, anchor: TrustAnchor
) -> None:
    with proving.control.attacked() as relay:
        clf.connect(proving.process.owner, expect=expected, anchor=anchor).close()
        recorded = relay.seen[0].answer

    def replay(exchange: Exchange) -> None:
        exchange.status, exchange.answer = 200, recorded

    refused(proving, BindingMismatch, {"before": replay}, expect=expected, anchor=anchor)


def test_evidence_for_a_nonce_that_another_chose_is_refused(
    proving: Owner, expected: EnclavePolicy, anchor: TrustAnchor
) -> None:
    def other_nonce(exchange: Exchange) -> None:
        exchange.path = f"/v1/evidence?nonce={secrets.token_hex(32)}"

    refused(proving, BindingMismatch, {"before": other_nonce}, expect=expected, anchor=anchor)


def test_relabelled_evidence_is_refused(
    proving: Owner, expected: EnclavePolicy, anchor: TrustAnchor
) -> None:
    def swap_certificate(exchange: Exchange) -> None:
        document = json.loads(exchange.answer)
        document["binding"]["certificate"] = "ab" * 32
        exchange.answer = json.dumps(document).encode()

    refused(
        proving, ReportDataMismatch, {"after": swap_certificate}, expect=expected, anchor=anchor
    )


def test_evidence_of_another_server_is_refused(
    proving: Owner,
    make_owner: Callable[..., Owner],
    simulation: Simulation,
    expected: EnclavePolicy,
    anchor: TrustAnchor,
) -> None:
    """An impostor that truly runs the expected program, but is not the owner's server."""
    settings = {"insecure_simulated_evidence": str(simulation.directory)}
    impostor = make_owner("impostor", settings=settings)
    clf.connect(impostor.process.owner, expect=expected, anchor=anchor).close()

    def ask_the_impostor(exchange: Exchange) -> None:
        impostor.control.pass_on(exchange)

    refused(
        proving,
        ServerIdentityMismatch,
        {"before": ask_the_impostor},
        expect=expected,
        anchor=anchor,
    )


def test_evidence_of_an_enclave_s_run_is_refused(
    proving: Owner, local: LocalServer, simulation: Simulation, anchor: TrustAnchor
) -> None:
    """The enclave app is genuine, and expected by mistake: its evidence is still no server's."""
    job = make_job([job_input(proving.server, "t")])
    enclave = HandmadeEnclave(simulation, local, job)

    def of_a_run(exchange: Exchange) -> None:
        nonce = exchange.path.rpartition("=")[2]
        binding = enclave.binding(nonce, server=proving.server)
        exchange.status = 200
        exchange.answer = json.dumps(enclave.evidence(binding)).encode()

    expect = simulation.enclave_policy
    refused(proving, Malformed, {"before": of_a_run}, expect=expect, anchor=anchor)


def test_simulated_evidence_never_satisfies_intel_s_root(
    proving: Owner, expected: EnclavePolicy
) -> None:
    refused(proving, AnchorMismatch, {}, expect=expected)


def test_other_measurement_is_refused(proving: Owner, anchor: TrustAnchor) -> None:
    expect = EnclavePolicy(mrenclave="0f" * 32)
    refused(proving, MeasurementMismatch, {}, expect=expect, anchor=anchor)


def test_server_that_does_not_prove_itself_is_told_nothing(
    clinic: Owner, expected: EnclavePolicy, anchor: TrustAnchor
) -> None:
    refused(clinic, EvidenceUnavailable, {}, expect=expected, anchor=anchor)
    clf.connect(clinic.process.owner).close()  # where nothing is expected it is an ordinary server


@pytest.fixture
def other_certificate(proving: Owner, tmp_path: Path) -> Iterator[tuple[Relay, Profile]]:
    """A relay with another certificate, of an authority that the profile accepts as well."""
    make_certificates(tmp_path, name="impostor", hosts=[PUBLIC_HOST])
    authority = (tmp_path / "ca.pem").read_text()
    (tmp_path / "ca.pem").write_bytes((proving.directory / "tls" / "ca.pem").read_bytes())
    port = int(proving.owner.url.rpartition(":")[2])
    relay = Relay((PUBLIC_HOST, free_port()), ("127.0.0.1", port), tls=tmp_path)
    profile = proving.owner.model_copy(
        update={
            "url": f"https://{PUBLIC_HOST}:{relay.port}",
            "ca": proving.owner.ca + authority,
        }
    )
    yield relay, profile
    relay.close()


def test_true_evidence_from_behind_another_certificate_gets_no_token(
    other_certificate: tuple[Relay, Profile], expected: EnclavePolicy, anchor: TrustAnchor
) -> None:
    relay, profile = other_certificate
    with pytest.raises(ServerIdentityMismatch, match="another certificate"):
        clf.connect(profile, expect=expected, anchor=anchor)
    assert [each.path.partition("?")[0] for each in relay.seen] == ["/v1/evidence"]
    assert told(relay) == []


def test_policy_that_pins_signer_and_product_is_enough(
    proving: Owner, simulation: Simulation, anchor: TrustAnchor
) -> None:
    expect = EnclavePolicy(
        mrsigner=simulation.platform.mrsigner, isv_prod_id=SIMULATED_PROD_ID, min_isv_svn=1
    )
    clf.connect(proving.owner, expect=expect, anchor=anchor).close()
    with pytest.raises(AttestationError):  # what owners pin for enclaves names no server
        clf.connect(proving.owner, expect=simulation.enclave_policy, anchor=anchor)


def test_anchor_without_an_expectation_is_a_mistake(proving: Owner, anchor: TrustAnchor) -> None:
    with pytest.raises(InvalidInput, match="expect"):
        clf.connect(proving.owner, anchor=anchor)
    with pytest.raises(ConfigurationError, match="EnclavePolicy"):
        clf.connect(proving.owner, expect="ab" * 32, anchor=anchor)  # type: ignore[arg-type]


def test_expectation_from_the_shell(
    proving: Owner,
    simulation: Simulation,
    numbers: pa.Table,
    policy: clf.Policy,
    tmp_path: Path,
) -> None:
    import pyarrow.parquet as pq  # noqa: PLC0415

    pq.write_table(numbers, tmp_path / "t.parquet")
    (tmp_path / "policy.json").write_text(json.dumps(policy.to_json()))
    proving.owner.save(tmp_path / "owner.json")
    measured = CliRunner().invoke(server_commands, ["measure"]).output.strip()
    for mrenclave, outcome in ((measured, 0), ("0f" * 32, 1)):
        (tmp_path / "expect.json").write_text(json.dumps({"mrenclave": mrenclave}))
        files = {name: str(tmp_path / f"{name}.json") for name in ("policy", "expect")}
        done = CliRunner().invoke(
            main,
            [
                *("share", str(tmp_path / "t.parquet"), "--name", "shell"),
                *("--profile", str(tmp_path / "owner.json"), "--policy", files["policy"]),
                *("--expect", files["expect"], "--insecure-simulation", str(simulation.anchor)),
            ],
        )
        assert done.exit_code == outcome, done.output
    assert "MRENCLAVE" in done.output
    with contextlib.closing(clf.connect(proving.owner)) as connection:
        assert connection.table("shell").rows == 8
