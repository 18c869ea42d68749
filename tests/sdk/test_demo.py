from __future__ import annotations

import json
import subprocess
import sys

import pytest

PUBLISHED = {
    "const": 0.7004,
    "lncoins": -0.0525,
    "idp": -0.2471,
    "lpi": 0.0353,
    "fmde": -0.0346,
    "physlm": 0.2717,
    "disea": 0.0339,
    "hlthg": -0.0126,
    "hlthf": 0.0541,
    "hlthp": 0.2061,
}


@pytest.mark.timeout(300)
def test_demo_reproduces_the_published_model_with_separate_processes() -> None:
    command = [sys.executable, "-c", "from clf_sdk._cli import main; main()", "demo", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["mode"] == "simulation"
    assert found["receipt_verified"] is True
    assert len(found["digest"]) == 64
    assert found["owners"] == ["insurer", "clinic", "hospital"]
    assert len({*found["server_pids"], found["enclave_pid"]}) == 4
    assert found["rows"] == 20190
    assert len(bytes.fromhex(found["digest"])) == 32
    assert found["approvals"] == found["owners"]
    assert found["released_by"] == ["hospital"]
    assert found["receipt_verified"] is True
    assert found["max_abs_difference"] < 1e-8
    assert {term: round(value, 4) for term, value in found["coefficients"].items()} == PUBLISHED
    assert set(found["reference"]) == set(PUBLISHED)
    assert {"share", "run", "fetch", "total"} <= set(found["timings"])
