from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from clf_sdk._cli._quote import quote
from clf_sdk._cli._simulation import simulation
from clf_sdk.attestation import SimulatedPlatform

if TYPE_CHECKING:
    from pathlib import Path

MRENCLAVE = "33d8736db756ed4997e04ba358d27833188f1932ff7b1d156904d3f560452fbb"
NOW = 1751000000


def verify_real(vectors: Path, *arguments: str) -> Result:
    return CliRunner().invoke(
        quote,
        [
            "verify",
            str(vectors / "intel_sgx_quote.bin"),
            "--collateral",
            str(vectors / "intel_sgx_collateral.json"),
            "--report-data",
            b"Hello, world!".hex(),
            "--at",
            str(NOW),
            *arguments,
        ],
    )


ALLOW = ("--allow-status", "ConfigurationAndSWHardeningNeeded")


def test_real_quote_verifies_and_shows_what_it_proves(vectors: Path) -> None:
    result = verify_real(vectors, "--mrenclave", MRENCLAVE, *ALLOW)
    assert result.exit_code == 0, result.output
    assert MRENCLAVE in result.stdout
    assert "INTEL-SA-00289, INTEL-SA-00615" in result.stdout
    as_json = verify_real(vectors, "--mrenclave", MRENCLAVE, *ALLOW, "--json")
    document = json.loads(as_json.stdout)
    assert document["verified"] is True
    assert (document["mrenclave"], document["mode"]) == (MRENCLAVE, "dcap")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((), "configuration"),
        (("--isv-prod-id", "0", "--min-isv-svn", "0"), "configuration"),
        (("--mrsigner", "81" * 32), "configuration"),
        (("--mrenclave", "0" * 64), "configuration"),
        (("--mrenclave", MRENCLAVE), "tcb_status_refused"),
        (("--mrenclave", "ab" * 32, *ALLOW), "measurement_mismatch"),
        (("--mrenclave", MRENCLAVE, *ALLOW, "--report-data", "00"), "report_data_mismatch"),
        (("--mrenclave", MRENCLAVE, *ALLOW, "--report-data", "00" * 65), "invalid_input"),
        (("--mrenclave", MRENCLAVE, *ALLOW, "--report-data", "zz"), "invalid_input"),
        (("--mrenclave", MRENCLAVE, *ALLOW, "--at", "0"), "collateral_expired"),
        (("--mrenclave", MRENCLAVE, "--allow-status", "Revoked"), "configuration"),
        (
            ("--mrsigner", "81" * 32, "--isv-prod-id", "0", "--min-isv-svn", "0", *ALLOW),
            "signer_mismatch",
        ),
    ],
)
def test_refusal_exits_1_with_the_named_reason(
    vectors: Path, arguments: tuple[str, ...], code: str
) -> None:
    result = verify_real(vectors, *arguments, "--json")
    document = json.loads(result.stdout)
    assert (result.exit_code, document["verified"], document["code"]) == (1, False, code)
    assert set(document) == {"verified", "code", "reason", "hint"}
    plain = verify_real(vectors, *arguments)
    assert plain.exit_code == 1
    assert plain.stdout == ""
    assert f"Refused ({code})" in plain.stderr


def test_show_reads_quotes_and_certificates_and_says_unverified(vectors: Path) -> None:
    shown = CliRunner().invoke(quote, ["show", str(vectors / "intel_sgx_quote.bin")])
    assert shown.exit_code == 0
    assert shown.stdout.startswith("Not verified")
    assert MRENCLAVE in shown.stdout
    debug = CliRunner().invoke(quote, ["show", str(vectors / "intel_sgx_debug_quote.bin")])
    assert "DEBUG" in debug.stderr
    certificate = vectors / "gramine_ratls_cert_simquote.der"
    ratls = CliRunner().invoke(quote, ["show", str(certificate)])
    assert ratls.exit_code == 0
    assert "2.23.133.5.4.9" in ratls.stdout


def test_show_of_anything_else_exits_1(tmp_path: Path) -> None:
    for content in (b"", b"junk", b"\x03\x00 truncated"):
        (tmp_path / "file").write_bytes(content)
        result = CliRunner().invoke(quote, ["show", str(tmp_path / "file")])
        assert result.exit_code == 1
        assert "Refused" in result.stderr


def test_simulation_is_made_and_verified_by_name_only(tmp_path: Path) -> None:
    tee = tmp_path / "tee"
    made = CliRunner().invoke(simulation, ["init", str(tee)])
    assert made.exit_code == 0, made.output
    assert "INSECURE" in made.stderr
    assert "anchor.pem" in made.stdout
    platform = SimulatedPlatform.load(tee)
    claims: dict[str, Any] = {"mrsigner": platform.mrsigner, "isv_prod_id": 0, "isv_svn": 0}
    (tmp_path / "quote").write_bytes(platform.quote(bytes(64), mrenclave="ab" * 32, **claims))
    arguments = [
        "verify",
        str(tmp_path / "quote"),
        "--collateral",
        str(tee / "collateral.json"),
        "--report-data",
        "",
        "--mrenclave",
        "ab" * 32,
    ]
    real = CliRunner().invoke(quote, arguments)
    assert real.exit_code == 1
    assert "anchor_mismatch" in real.stderr
    simulated = CliRunner().invoke(
        quote, [*arguments, "--insecure-simulation", str(tee / "anchor.pem")]
    )
    assert simulated.exit_code == 0, simulated.output
    assert "INSECURE SIMULATION" in simulated.stdout
    assert "INSECURE SIMULATION" in simulated.stderr


def test_simulation_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    result = CliRunner().invoke(simulation, ["init", str(tmp_path)])
    assert result.exit_code == 1
    assert "not an empty directory" in result.stderr
