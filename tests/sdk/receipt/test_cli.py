from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from clf_sdk._cli._receipt import receipt
from clf_testing import MRENCLAVE, HandmadeRun


@pytest.fixture
def file(made: HandmadeRun, tmp_path: Path) -> Path:
    path = tmp_path / "receipt.json"
    path.write_bytes(made.seal())
    return path


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(receipt, [str(argument) for argument in arguments])


def test_verify_proves_a_simulated_run_under_its_own_root_only(
    made: HandmadeRun, file: Path
) -> None:
    anchor = made.simulation.anchor
    done = call("verify", file, "--insecure-simulation", anchor)
    assert done.exit_code == 0, done.output
    assert "Verified (INSECURE SIMULATION):" in done.stdout
    assert made.run in done.stdout
    refused = call("verify", file)
    assert refused.exit_code == 1
    assert "anchor_mismatch" in refused.stderr
    assert "Verified" not in refused.stdout


def test_verify_prints_json(made: HandmadeRun, file: Path) -> None:
    done = call("verify", file, "--json", "--insecure-simulation", made.simulation.anchor)
    document = json.loads(done.stdout)
    assert (document["verified"], document["run"]) == (True, made.run)
    assert document["pinned_by"] == "job"
    refused = json.loads(call("verify", file, "--json").stdout)
    assert (refused["verified"], refused["code"]) == (False, "anchor_mismatch")


def test_verify_takes_pins_run_and_job(made: HandmadeRun, file: Path) -> None:
    base = ("verify", file, "--json", "--insecure-simulation", made.simulation.anchor)
    pinned = json.loads(call(*base, "--mrenclave", MRENCLAVE, "--run", made.run).stdout)
    assert (pinned["verified"], pinned["pinned_by"]) == (True, "verifier")
    for arguments, code in (
        (("--mrenclave", "cd" * 32), "measurement_mismatch"),
        (("--allow-status", "OutOfDate"), "configuration"),
        (("--mrsigner", "cd" * 32), "configuration"),
        (("--run", "00" * 16), "receipt_mismatch"),
        (("--job", "00" * 32), "receipt_mismatch"),
    ):
        refused = call(*base, *arguments)
        assert refused.exit_code == 1
        assert json.loads(refused.stdout)["code"] == code


def test_verify_fails_for_a_changed_file(made: HandmadeRun, file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    done = call("verify", file, "--insecure-simulation", made.simulation.anchor)
    assert done.exit_code == 1
    assert "Refused (" in done.stderr
    assert call("show", file).exit_code == 1


def test_show_says_that_it_verifies_nothing(made: HandmadeRun, file: Path) -> None:
    done = call("show", file)
    assert done.exit_code == 0
    assert done.stdout.startswith("Not verified; the receipt says:")
    assert made.job.digest in done.stdout
    assert "INSECURE SIMULATION" in done.stderr
    assert json.loads(call("show", file, "--json").stdout)["predicate"]["run"] == made.run


def test_compare_tells_by_its_exit_code(made: HandmadeRun, file: Path, tmp_path: Path) -> None:
    copy, other = tmp_path / "copy.json", tmp_path / "other.json"
    copy.write_bytes(file.read_bytes())
    same = call("compare", file, copy)
    assert (same.exit_code, same.stdout.startswith("The same receipt")) == (0, True)
    other.write_bytes(made.seal())
    differs = call("compare", file, other)
    assert differs.exit_code == 1
    assert differs.stdout.startswith("TWO DIFFERENT RECEIPTS OF ONE RUN")
    assert "predicate.owners[0].session.nonce" in differs.stdout
    document = json.loads(call("compare", file, other, "--json").stdout)
    assert (document["same"], document["same_run"]) == (False, True)
    other.write_bytes(HandmadeRun(made.simulation).seal())
    assert call("compare", file, other).stdout.startswith("Different runs of different jobs.")
    other.write_bytes(b"{}")
    assert call("compare", file, other).exit_code == 1


def test_verify_imports_no_network_code_of_its_own(file: Path, made: HandmadeRun) -> None:
    """Offline means offline: an address that can't be resolved is never asked for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("socket.socket", None)
        done = call("verify", file, "--insecure-simulation", made.simulation.anchor)
    assert done.exit_code == 0, done.output
