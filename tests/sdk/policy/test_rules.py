"""Each rule decides by itself, and what it does not know it does not let through."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import clf_sdk as clf
from clf_sdk.attestation import VerifiedEnclave
from clf_sdk.errors import PolicyRefused
from clf_sdk.policy import RULES, AccessRequest, PolicyDocument, decide, enforce
from clf_testing import job_input, make_job
from clf_testing.policies import POLICIES

NOW = 1_800_000_000
ENCLAVE = clf.EnclavePolicy(mrenclave="ab" * 32)
SCHEMA = pa.schema({"id": pa.int64(), "age": pa.int64(), "zip": pa.string()})
ANALYST = clf.Identity.create()
JOB = make_job([job_input("0a" * 32, "t")], recipients=[ANALYST.public])
ANYTHING = make_job([job_input("0a" * 32, "t")], operation="python", parameters={})
PROVED = VerifiedEnclave(
    mrenclave="ab" * 32,
    mrsigner="cd" * 32,
    isv_prod_id=1,
    isv_svn=1,
    attributes="00" * 16,
    report_data="00" * 64,
    tcb_status="UpToDate",
    advisories=(),
    fmspc="00" * 6,
    ppid="00" * 16,
    mode="simulation",
    verified_at=NOW,
)


def policy(**changes: Any) -> clf.Policy:
    fields: dict[str, Any] = {"enclave": ENCLAVE, "operations": ["glm", "python"]}
    return clf.Policy(**(fields | changes))


def request(**changes: Any) -> AccessRequest:
    """Return a request of which everything is known and which the default policy allows."""
    fields: dict[str, Any] = {
        "job": JOB,
        "entry": JOB.inputs[0],
        "now": NOW,
        "analyst": ANALYST.public.id,
        "columns": SCHEMA.names,
        "schema": SCHEMA,
        "enclave": PROVED,
        "runs_used": 0,
        "approved": True,
    }
    return AccessRequest(**(fields | changes))


def outcome(rule: str, of: clf.Policy, asked: AccessRequest) -> tuple[str, str]:
    (verdict,) = [entry for entry in decide(of, asked) if entry.rule == rule]
    return verdict.outcome, verdict.reason


def test_there_is_one_rule_for_each_field_of_a_policy() -> None:
    fields = [name for name in PolicyDocument.model_fields if name not in ("clf", "type")]
    assert [rule.name for rule in RULES] == fields


def test_request_that_every_rule_allows_passes() -> None:
    verdicts = enforce(policy(), request())
    assert {entry.outcome for entry in verdicts} == {"allowed", "enclave"}
    assert [entry.rule for entry in verdicts] == [rule.name for rule in RULES]


def entry(**changes: Any) -> AccessRequest:
    asked = job_input("0a" * 32, "t", **changes)
    return request(job=make_job([asked]), entry=asked)


def noised(**changes: Any) -> AccessRequest:
    asked = clf.PrivateStatistics(statistics=[clf.private.count(epsilon=0.5)])
    job = make_job(
        [job_input("0a" * 32, "t")], operation=asked.operation, parameters=asked.to_json()
    )
    return request(**({"job": job, "entry": job.inputs[0], "privacy_spent": 0} | changes))


@pytest.mark.parametrize(
    ("rule", "changes", "asked", "expected"),
    [
        ("enclave", {}, request(enclave=None), "unknown"),
        ("analysts", {"analysts": ["1a" * 32]}, request(), "refused"),
        ("analysts", {"analysts": [ANALYST.public]}, request(), "allowed"),
        ("analysts", {"analysts": [ANALYST.public]}, request(analyst=None), "unknown"),
        ("operations", {"operations": ["kmeans"]}, request(), "refused"),
        ("operations", {"operations": ["kmeans", "glm"]}, request(), "allowed"),
        ("operations", {"operations": None, "jobs": [JOB.digest]}, request(), "allowed"),
        ("jobs", {"jobs": ["0d" * 32]}, request(), "refused"),
        ("jobs", {"jobs": ["0d" * 32, JOB.digest]}, request(), "allowed"),
        ("columns", {"columns": ["id", "age"]}, request(), "refused"),
        ("columns", {"columns": ["id", "age"]}, request(columns=None), "unknown"),
        ("columns", {"columns": ["id", "age"]}, entry(columns=["id"]), "allowed"),
        ("columns", {"columns": ["id", "age"]}, entry(columns=["id", "zip"]), "refused"),
        ("columns", {"columns": ["id", "age"]}, entry(columns=["id", "Age"]), "refused"),
        ("columns", {"columns": ["id", "age", "zip"]}, request(), "allowed"),
        ("rows", {"rows": "age > 1"}, request(), "allowed"),
        ("rows", {"rows": "age > 1"}, request(schema=None), "allowed"),
        ("rows", {"rows": "gone > 1"}, request(), "refused"),
        ("rows", {"rows": "zip > 1"}, request(), "refused"),
        ("runs", {"runs": 2}, request(runs_used=1), "allowed"),
        ("runs", {"runs": 2}, request(runs_used=2), "refused"),
        ("runs", {"runs": 2}, request(runs_used=None), "unknown"),
        (
            "expires",
            {"expires": dt.datetime.fromtimestamp(NOW + 1, dt.UTC)},
            request(),
            "allowed",
        ),
        ("expires", {"expires": dt.datetime.fromtimestamp(NOW, dt.UTC)}, request(), "refused"),
        ("smallest_group", {"smallest_group": 1}, request(), "allowed"),
        ("smallest_group", {"smallest_group": 2}, request(), "enclave"),
        ("entity", {}, request(), "allowed"),
        ("entity", {"entity": "id"}, request(), "enclave"),
        ("dominance", {}, request(), "allowed"),
        ("dominance", {"dominance": (1, 50)}, request(), "enclave"),
        ("round_counts", {}, request(), "allowed"),
        ("round_counts", {"round_counts": 5}, request(), "enclave"),
        ("output_rows", {}, request(), "allowed"),
        ("output_rows", {"output_rows": 5}, request(), "enclave"),
        ("output_bytes", {}, request(), "allowed"),
        ("output_bytes", {"output_bytes": 5}, request(), "enclave"),
        ("differencing", {}, request(), "enclave"),
        ("differencing", {"differencing": "refuse"}, request(), "enclave"),
        ("differencing", {"differencing": "off"}, request(), "allowed"),
        ("differencing", {"smallest_group": 1}, request(), "enclave"),
        ("privacy_budget", {}, request(), "allowed"),
        ("privacy_budget", {}, noised(), "refused"),
        ("privacy_budget", {"privacy_budget": 0.4}, noised(), "refused"),
        ("privacy_budget", {"privacy_budget": 0.4}, noised(privacy_spent=None), "refused"),
        ("privacy_budget", {"privacy_budget": 0.5}, noised(), "allowed"),
        ("privacy_budget", {"privacy_budget": 0.5}, noised(privacy_spent=None), "unknown"),
        ("privacy_budget", {"privacy_budget": 0.5}, noised(privacy_spent=1), "refused"),
        ("privacy_budget", {"privacy_budget": 0.9}, noised(privacy_spent=400_000), "allowed"),
        ("privacy_budget", {"privacy_budget": 0.9}, noised(privacy_spent=400_001), "refused"),
        ("privacy_budget", {"privacy_budget": 0.1}, noised(privacy_paid=True), "allowed"),
        ("privacy_budget", {}, noised(privacy_paid=True), "refused"),
        ("smallest_group", {}, noised(), "allowed"),
        ("dominance", {"dominance": (1, 50)}, noised(), "allowed"),
        ("round_counts", {"round_counts": 5}, noised(), "allowed"),
        ("differencing", {"differencing": "refuse"}, noised(), "allowed"),
        ("row_level", {}, request(), "enclave"),
        ("row_level", {"row_level": [ANALYST.public]}, request(), "allowed"),
        ("row_level", {"row_level": ["1a" * 32]}, request(), "enclave"),
        ("release", {}, request(), "allowed"),
        ("release", {"release": "review"}, request(), "enclave"),
        ("approval", {}, request(approved=False), "refused"),
        ("approval", {}, request(approved=None), "unknown"),
        ("approval", {"approval": "automatic"}, request(approved=False), "allowed"),
        ("approval", {"approval": "automatic"}, request(job=ANYTHING, approved=None), "unknown"),
        ("approval", {"approval": "automatic"}, request(job=ANYTHING, approved=True), "allowed"),
        (
            "approval",
            {"approval": "automatic", "jobs": [ANYTHING.digest]},
            request(job=ANYTHING, approved=None),
            "allowed",
        ),
    ],
)
def test_rule_decides(
    rule: str, changes: dict[str, Any], asked: AccessRequest, expected: str
) -> None:
    of = policy(**({"operations": ["glm", "python", "private_statistics"]} | changes))
    assert outcome(rule, of, asked)[0] == expected
    if expected in ("refused", "unknown"):
        with pytest.raises(PolicyRefused) as caught:
            enforce(of, asked)
        assert caught.value.rule == rule


@pytest.mark.parametrize("name", ["mrenclave", "mrsigner", "isv_prod_id"])
def test_job_for_another_program_is_refused_before_it_runs(name: str) -> None:
    ours: dict[str, Any] = {
        "mrenclave": "cd" * 32,
        "mrsigner": "cd" * 32,
        "isv_prod_id": 7,
        "min_isv_svn": 1,
    }
    theirs = ours | {name: 8 if name == "isv_prod_id" else "ef" * 32}
    job = JOB.model_copy(update={"enclave": JOB.enclave.model_copy(update=theirs)})
    asked = request(job=job, enclave=None)
    said = outcome("enclave", policy(enclave=clf.EnclavePolicy(**ours)), asked)
    assert said[0] == "refused"
    assert name in said[1]


def test_refusal_tells_the_rule_and_keeps_the_owner_s_values() -> None:
    of = policy(columns=["id"], analysts=["1a" * 32], jobs=["0d" * 32])
    with pytest.raises(PolicyRefused) as caught:
        enforce(of, request())
    error = caught.value
    assert error.rule == "analysts"
    told = str(error)
    assert "age" not in told
    assert "0d0d" not in told
    assert error.reason is not None
    assert [part.split(":")[0] for part in error.reason.split("; ")] == [
        "analysts",
        "jobs",
        "columns",
    ]
    assert "age, zip may not leave, only id may" in error.reason


def test_reasons_stay_short_whatever_is_asked() -> None:
    names = [f"column-{number}" for number in range(16_000)]
    said = outcome("columns", policy(columns=["id"]), entry(columns=["id", *names]))
    assert said[0] == "refused"
    assert "15,990 more" in said[1]
    assert len(said[1]) < 400


@settings(deadline=None, max_examples=50)
@given(of=POLICIES, known=st.sets(st.sampled_from(["analyst", "columns", "enclave", "runs_used"])))
def test_knowing_less_never_allows_more(of: clf.Policy, known: set[str]) -> None:
    everything = request()
    less = request(**dict.fromkeys(known))
    for before, after in zip(decide(of, everything), decide(of, less), strict=True):
        if after.outcome == "allowed":
            assert before.outcome == "allowed"
