"""``clf job``: an analyst submits from the shell, and the owner decides there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner

import clf_sdk as clf
from clf_sdk._cli import main
from clf_testing import Owner, Simulation, the_analyst


@pytest.fixture
def shell(clinic: Owner, tmp_path: Path) -> Callable[..., str]:
    profiles = {"owner": tmp_path / "owner.json", "analyst": tmp_path / "analyst.json"}
    clinic.owner.save(profiles["owner"])
    clinic.analyst.save(profiles["analyst"])

    def call(*arguments: str, who: str = "owner", fails: bool = False) -> str:
        done = CliRunner().invoke(main, ["job", *arguments, "--profile", str(profiles[who])])
        assert (done.exit_code != 0) is fails, done.output
        return done.output

    return call


@pytest.fixture
def make_file(
    clinic: Owner,
    connect: Callable[..., clf.Connection],
    numbers: pa.Table,
    simulation: Simulation,
    tmp_path: Path,
) -> Callable[[str], tuple[clf.Job, Path]]:
    owner = connect(clinic)
    asking = simulation.policy_with(approval="ask")
    clf.share(numbers, name="shell", policy=asking, to=owner, widen=True)

    def make(name: str) -> tuple[clf.Job, Path]:
        job = clf.Job(
            name=name,
            purpose="whether the shell says what notebooks say",
            inputs=[owner.table("shell")],
            on="id",
            operation=clf.GLM(outcome="y", predictors=["x"], family="gaussian"),
            enclave=simulation.enclave_policy,
            analyst=the_analyst(),
            recipients=[clf.Identity.create()],
        )
        file = tmp_path / f"{name}.json"
        job.save(file)
        return job, file

    return make


@pytest.fixture
def analyst_file(tmp_path: Path) -> Path:
    file = tmp_path / "analyst.private"
    the_analyst().save(file, passphrase=None)
    return file


def test_submit_approve_and_revoke(
    shell: Callable[..., str],
    make_file: Callable[[str], tuple[clf.Job, Path]],
    analyst_file: Path,
) -> None:
    job, file = make_file("shell-approve")
    submit = ("submit", str(file), "--identity", str(analyst_file))
    said = json.loads(shell(*submit, who="analyst"))
    assert said == {"job": job.digest, "owners": {"clinic": "pending"}}

    listed = [
        json.loads(line)
        for line in shell("list", "--state", "pending", "--json").split("\n")
        if line
    ]
    assert job.digest in [each["job"] for each in listed]
    shown = shell("show", job.digest[:12])
    assert "whether the shell says what notebooks say" in shown
    assert job.digest in shown

    assert "approved" in shell("approve", job.digest[:8], "--runs", "2", "--until", "2100-01-01")
    said = json.loads(shell(*submit, who="analyst"))  # the same again asks what was decided
    assert said["owners"] == {"clinic": "approved"}
    assert "0 of 2 runs, until 2100-01-01" in shell("list", "--state", "approved")
    assert "revoked" in shell("revoke", job.digest, "--reason", "the study is over")
    assert "the study is over" in shell("list", "--state", "revoked", who="analyst")
    assert "is revoked" in shell("approve", job.digest, fails=True)


def test_refusal_is_final_and_needs_a_reason(
    shell: Callable[..., str],
    make_file: Callable[[str], tuple[clf.Job, Path]],
    analyst_file: Path,
) -> None:
    job, file = make_file("shell-refuse")
    shell("submit", str(file), "--identity", str(analyst_file), who="analyst")
    assert "--reason" in shell("refuse", job.digest, fails=True)
    assert "refused" in shell("refuse", job.digest, "--reason", "ask for fewer columns")
    assert "ask for fewer columns" in shell("list", "--state", "refused", who="analyst")
    assert "that is final" in shell("approve", job.digest, fails=True)
    assert "no job here has a digest" in shell("show", "0" * 64, fails=True)


def test_only_the_analyst_submits_and_only_the_owner_decides(
    shell: Callable[..., str],
    make_file: Callable[[str], tuple[clf.Job, Path]],
    analyst_file: Path,
) -> None:
    job, file = make_file("shell-roles")
    submit = ("submit", str(file), "--identity", str(analyst_file))
    assert "an owner token may not do this" in shell(*submit, who="owner", fails=True)
    shell(*submit, who="analyst")
    for decision in (["approve"], ["refuse", "--reason", "r"]):
        assert "an analyst token may not do this" in shell(
            *decision, job.digest, who="analyst", fails=True
        )
    assert "pending" in shell("list", "--state", "pending")


def test_job_file_of_others_is_not_signed(
    shell: Callable[..., str], make_file: Callable[[str], tuple[clf.Job, Path]]
) -> None:
    _, file = make_file("shell-other")
    said = shell("submit", str(file), who="analyst", fails=True)  # one's own identity is another
    assert "identity" in said
