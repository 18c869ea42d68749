from __future__ import annotations

from pathlib import Path

import pytest

from clf_sdk.protocol import JobDocument
from clf_sdk.receipt import SignedReceipt
from clf_testing import HandmadeRun

SCRIPT = "<script>alert(1)</script>"
CLEAR_SCREEN = "\x1b[2J"


def test_simulation_is_shown_everywhere(made: HandmadeRun) -> None:
    receipt = made.verify(made.seal())
    for text in (repr(receipt), receipt.summary(), receipt._repr_html_()):
        assert "INSECURE SIMULATION" in text
    assert receipt.to_json()["mode"] == "simulation"


def test_repr_is_one_line_with_run_job_and_who_pinned_the_program(made: HandmadeRun) -> None:
    text = repr(made.verify(made.seal()))
    assert "\n" not in text
    assert made.run[:12] in text
    assert made.job.digest[:12] in text
    assert "2 owners" in text
    assert "pinned by the job" in text
    assert repr(SignedReceipt.parse(made.seal())).startswith("SignedReceipt(run ")


def test_texts_of_the_analyst_neither_run_scripts_nor_steer_terminals(made: HandmadeRun) -> None:
    purpose = f"{SCRIPT}{CLEAR_SCREEN}\nowner  forged"
    made.job = JobDocument.parse(made.job.to_json() | {"purpose": purpose})
    receipt = made.verify(made.seal())
    assert "<script" not in receipt._repr_html_()
    assert "&lt;script&gt;" in receipt._repr_html_()
    summary = receipt.summary()
    assert "\x1b" not in summary
    assert "\\x1b[2J\\nowner  forged" in summary
    assert len([line for line in summary.splitlines() if line.split()[0] == "owner"]) == 2


def test_summary_names_all_that_is_proved(made: HandmadeRun) -> None:
    summary = made.verify(made.seal()).summary()
    for part in (made.run, made.job.digest, *made.job.servers(), "8 rows of id, x0", "7 rows"):
        assert part in summary
    for part in ("coefficients: version a0a0", "fit: version a1a1", "UpToDate", "the job"):
        assert part in summary


def test_json_has_the_facts_and_no_evidence(made: HandmadeRun) -> None:
    document = made.verify(made.seal()).to_json()
    assert document["job_digest"] == made.job.digest
    assert [owner["server"] for owner in document["owners"]] == made.job.servers()
    assert {owner["granted_at"] for owner in document["owners"]} == {made.granted_at}
    assert "quote" not in str(document)


def test_file_is_saved_byte_for_byte(made: HandmadeRun, tmp_path: Path) -> None:
    data = made.seal()
    made.verify(data).save(tmp_path / "receipt.json")
    assert (tmp_path / "receipt.json").read_bytes() == data


@pytest.mark.parametrize("name", ["run", "mode", "program", "inputs", "digest"])
def test_verified_receipt_can_not_be_changed(made: HandmadeRun, name: str) -> None:
    receipt = made.verify(made.seal())
    with pytest.raises(AttributeError):
        setattr(receipt, name, "other")
