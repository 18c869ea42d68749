from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import clf_sdk as clf
from clf_sdk._cli import main
from clf_testing import job_input, make_job

JOB = make_job([job_input("0a" * 32, "health", columns=["id", "age"])])


def policy(**changes: Any) -> clf.Policy:
    fields: dict[str, Any] = {
        "enclave": clf.EnclavePolicy(mrenclave="ab" * 32),
        "operations": ["glm"],
    }
    return clf.Policy(**(fields | changes))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(policy(columns=["id", "age"], rows="age > 17").to_json()))
    return path


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    path = tmp_path / "job.json"
    path.write_bytes(JOB.canonical())
    return path


def clf_policy(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["policy", *map(str, arguments)])


def test_show_prints_words_or_the_whole_document(file: Path) -> None:
    words = clf_policy("show", file)
    assert words.exit_code == 0
    assert "rows            only where age > 17" in words.output
    document = json.loads(clf_policy("show", file, "--json").output)
    assert clf.Policy.from_json(document) == policy(columns=["id", "age"], rows="age > 17")
    assert "no file" in clf_policy("show", "plans").output


def test_schema_is_the_published_one() -> None:
    assert json.loads(clf_policy("schema").output) == clf.Policy.schema()


def test_explain_exits_by_its_answer(file: Path, job_file: Path, tmp_path: Path) -> None:
    allowed = clf_policy("explain", file, job_file)
    assert allowed.exit_code == 0
    assert "allowed, as soon as known: enclave, approval" in allowed.output
    file.write_text(json.dumps(policy(columns=["id"]).to_json()))
    refused = clf_policy("explain", file, job_file, "--json")
    assert refused.exit_code == 1
    assert json.loads(refused.output)["allowed"] is False
    identity = clf.Identity.create()
    public = tmp_path / "analyst.json"
    public.write_text(json.dumps(identity.public.to_json()))
    file.write_text(json.dumps(policy(analysts=[identity.public]).to_json()))
    assert clf_policy("explain", file, job_file).exit_code == 1
    for analyst in (public, identity.public.id):
        said = clf_policy("explain", file, job_file, "--analyst", analyst, "--at", 1_800_000_000)
        assert said.exit_code == 0


def test_compare_says_what_becomes_wider(file: Path, tmp_path: Path) -> None:
    after = tmp_path / "after.json"
    after.write_text(json.dumps(policy(columns=["id"]).to_json()))
    said = clf_policy("compare", file, after).output
    assert "tighter  columns" in said
    assert "wider    rows" in said


@pytest.mark.parametrize("content", ["", "{", "[]", '{"clf": 1}', '{"clf": 1, "clf": 1}'])
def test_file_that_is_no_policy_is_one_line(file: Path, content: str) -> None:
    file.write_text(content)
    said = clf_policy("show", file)
    assert said.exit_code == 1
    assert said.output.startswith("Error: ")
    assert "Traceback" not in said.output
