"""Every repr and card, with hostile names and with secrets that must not show."""

from __future__ import annotations

import copy
import pickle
import secrets
import time
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_sdk import _cards
from clf_sdk._run import Run
from clf_sdk.audit import Checkpoint, VerifiedEntry, VerifiedLog
from clf_sdk.keys import PrivateKey, SigningKey
from clf_sdk.protocol import (
    AuditEntry,
    HeldResult,
    JobDocument,
    JobRecord,
    JobStatus,
    Profile,
    TableDescription,
)
from clf_sdk.receipt import SignedReceipt, VerifiedReceipt
from clf_testing import HandmadeRun, Simulation, job_input, make_job, signed, the_analyst

SCRIPT = "<script>alert(document.cookie)</script>"
IMAGE = '"><img src=x onerror=alert(1)>'
BACKWARDS = "\u202egnp.exe\u2066\u200f"
TERMINAL = "\x1b]0;owned\x07\x1b[2J"
HOSTILE = SCRIPT + IMAGE + BACKWARDS + TERMINAL
LONG = HOSTILE + "x" * 10_000
TOKEN = "marker-token-" + secrets.token_hex(8)
IDENTITY = the_analyst()


def _connection(role: str = "owner") -> clf.Connection:
    profile = Profile.parse(
        {
            "clf": 1,
            "type": "profile",
            "role": role,
            "label": "ada",
            "analyst": None,
            "name": "clinic",
            "url": f"https://{HOSTILE}",
            "ca": "-----BEGIN CERTIFICATE-----marker-ca",
            "authorities_at": 0,
            "server": "ab" * 32,
            "successions": [],
            "token": TOKEN,
            "expires_at": int(time.time()),
        }
    )
    connection = clf.Connection.__new__(clf.Connection)
    connection.profile, connection.mode, connection.attested = profile, "simulation", None
    return connection


def _job() -> JobDocument:
    return make_job(
        [job_input("ab" * 32, "health", columns=["id", HOSTILE, LONG[:1000]])],
        parameters={HOSTILE: LONG, "outcome": SCRIPT},
        analyst=IDENTITY,
    ).model_copy(update={"purpose": LONG[:4000]})


def _status(job: JobDocument) -> JobStatus:
    return JobStatus(
        job=job.digest,
        name=job.name,
        purpose=job.purpose,
        operation=job.operation.name,
        analyst=job.analyst.digest,
        analyst_label=HOSTILE,
        state="refused",
        submitted_at=1,
        decided_at=2,
        decided_by=HOSTILE,
        automatic=False,
        reason=LONG,
        runs=1,
        runs_used=0,
        expires_at=3,
    )


def _table() -> clf.SharedTable:
    described = TableDescription.parse(
        {
            "name": "health",
            "version": "cd" * 32,
            "version_id": "ef" * 16,
            "rows": 5,
            "row_groups": 1,
            "columns": [
                {"name": name, "type": "string", "nullable": True} for name in (HOSTILE, LONG)
            ],
            "sealed_bytes": 10,
            "created_at": 1,
            "policy": None,
            "privacy": {"total_millionths": 2_500_000, "spent_millionths": 1_000_000},
        }
    )
    return clf.SharedTable(_connection("analyst"), described)


def _request() -> clf.JobRequest:
    job = _job()
    body = signed(job, IDENTITY)
    record = JobRecord(status=_status(job), job=job, signature=body["signature"], previous=None)
    connection = _connection()
    stand_in: Any = SimpleNamespace(ask=lambda *_, **__: record)
    connection.http = stand_in
    return clf.JobRequest(connection, record.status)


def _run() -> clf.Run:
    job = clf.Job.of(_job(), endpoints=())
    events = [
        {"event": "process", "pid": 1, "mode": "simulation"},
        {"event": "session", "server": "ab" * 32, "session": "0", "seconds": 1.0},
        {
            "event": "pulling",
            "input": "health",
            "server": "ab" * 32,
            "sealed_bytes": 1,
            "total_bytes": 2,
            "seconds": 0.5,
        },
        {"event": "failed", "code": "run_failed", "message": LONG, "hint": HOSTILE},
    ]
    enclave = SimpleNamespace(events=lambda: events, ended=lambda: None)
    return Run(job, "0" * 32, enclave)


def _held(job: JobDocument) -> HeldResult:
    return HeldResult.parse(
        {
            "envelope": {
                "clf": 1,
                "type": "result",
                "run": "0" * 32,
                "job": job.digest,
                "mode": "simulation",
                "output": "fit",
                "outputs": ["fit"],
                "kind": "document",
                "shape": None,
                "version_id": "1" * 32,
                "version": "2" * 64,
                "objects": {"document": 7},
                "reviewers": [],
                "keys": [PrivateKey.generate().public.seal(b"key", info={})],
            },
            "signature": "",
            "created_at": 1,
            "release": "refused",
            "decided_at": 2,
            "reason": LONG,
        }
    )


def _receipt(simulation: Simulation) -> VerifiedReceipt:
    run = HandmadeRun(simulation)
    statement = run.statement()
    statement["predicate"]["job"]["purpose"] = LONG[:4000]
    return VerifiedReceipt(SignedReceipt.parse(run.seal(statement)), "job", ())


def _release(simulation: Simulation) -> clf.Release:
    run = HandmadeRun(simulation)
    connection = _connection()
    sealed = run.seal(run.statement())
    untyped: Any = connection
    untyped.receipt = lambda _: sealed
    return clf.Release(connection, _held(_job()))


def _everything(simulation: Simulation) -> dict[str, Any]:
    receipt = _receipt(simulation)
    entry = AuditEntry(
        clf=1,
        type="audit-entry",
        index=0,
        time=1,
        mode="simulation",
        event="job.refused",
        request=None,
        details={"reason": LONG, HOSTILE: 1},
    )
    checkpoint = Checkpoint.sign(SigningKey.generate(), size=1, root=bytes(32))
    policy = clf.Policy(
        enclave=clf.EnclavePolicy(mrenclave="ab" * 32),
        operations=["glm"],
        columns=[HOSTILE, LONG],
        rows="name = '<script>alert(1)</script>'",
    )
    request, job = _request(), clf.Job.of(_job(), endpoints=())
    outputs = {
        "coefficients": pa.table({HOSTILE: [LONG, SCRIPT], "n": [1.5, None]}),
        "fit": {LONG: 1},
    }
    return {
        "Connection": _connection(),
        "SharedTable": _table(),
        "Policy": policy,
        "Explanation": policy.explain(_job(), table="health"),
        "Comparison": policy.compare(clf.Policy(enclave=policy.enclave, operations=["glm"])),
        "Job": job,
        "JobRequest": request,
        "JobRequests": clf.JobRequests([request]),
        "Submission": clf.Submission(job, (_connection(),), {HOSTILE: request.status}),
        "Run": _run(),
        "Result": clf.Result(receipt, outputs),
        "Receipt": receipt,
        "Release": _release(simulation),
        "Releases": clf.Releases([_release(simulation)]),
        "AuditLog": VerifiedLog(checkpoint, {HOSTILE: 1}, 1, 2, simulation=True),
        "AuditEntry": VerifiedEntry(checkpoint, entry),
        "Identity": IDENTITY,
        "PublicIdentity": IDENTITY.public,
        "Versions": clf.show_versions(),
    }


@pytest.fixture(scope="module")
def everything(simulation: Simulation) -> dict[str, Any]:
    return _everything(simulation)


def _secrets() -> list[str]:
    document = IDENTITY._to_bytes().decode()
    return [TOKEN, "marker-ca", *(part for part in document.split('"') if len(part) > 40)]


def _texts(thing: Any) -> dict[str, str]:
    texts = {"repr": repr(thing), "str": str(thing)}
    if hasattr(thing, "_repr_html_"):
        texts["html"] = thing._repr_html_()
    return texts


SHOWN = [
    "Connection",
    "SharedTable",
    "Policy",
    "Explanation",
    "Comparison",
    "Job",
    "JobRequest",
    "JobRequests",
    "Submission",
    "Run",
    "Result",
    "Receipt",
    "Release",
    "Releases",
    "AuditLog",
    "AuditEntry",
    "PublicIdentity",
    "Versions",
]


@pytest.mark.parametrize("name", [*SHOWN, "Identity"])
def test_no_text_has_a_script_a_secret_or_a_mark_that_reorders(
    everything: dict[str, Any], name: str
) -> None:
    texts = _texts(everything[name])
    assert ("html" in texts) == (name in SHOWN)
    html = texts.get("html", "")
    for tag in ("<script", "<img", "javascript:", "<iframe"):
        assert tag not in html.lower()
    for text in texts.values():
        assert [secret for secret in _secrets() if secret in text] == []
    for mark in ("\u202e", "\u2066", "\u200f", "\x1b", "\x07"):
        assert mark not in html


@pytest.mark.parametrize("name", SHOWN)
def test_cards_cut_what_is_long(everything: dict[str, Any], name: str) -> None:
    assert "x" * 1000 not in everything[name]._repr_html_()


@pytest.mark.parametrize("name", [name for name in SHOWN if name not in ("Versions", "Releases")])
def test_reprs_are_one_line(everything: dict[str, Any], name: str) -> None:
    text = repr(everything[name])
    assert "\n" not in text
    assert len(text) < 400


@pytest.mark.parametrize(
    "name",
    ["Connection", "SharedTable", "Run", "Result", "Receipt", "Release", "AuditLog", "AuditEntry"],
)
def test_simulation_is_in_repr_and_in_a_banner(everything: dict[str, Any], name: str) -> None:
    assert "INSECURE SIMULATION" in repr(everything[name])
    assert _cards.banner() in everything[name]._repr_html_()


def test_full_ids_are_there_on_demand(everything: dict[str, Any]) -> None:
    html = everything["Job"]._repr_html_()
    assert f"<code>{everything['Job'].digest[:12]}…</code></summary>" in html
    assert everything["Job"].digest in html


def test_attribute_of_a_hostile_name_stays_text() -> None:
    shown = _cards.card(IMAGE, IMAGE, {IMAGE: [IMAGE], "id": _cards.Identifier(IMAGE * 3)})
    assert "<img" not in shown
    assert _cards.grid([IMAGE], [[IMAGE], [_cards.Identifier(IMAGE * 3)]]).count("<img") == 0


@pytest.mark.parametrize(
    "name",
    [
        "Connection",
        "SharedTable",
        "JobRequest",
        "Submission",
        "Run",
        "Result",
        "Receipt",
        "Release",
        "AuditLog",
        "Identity",
    ],
)
def test_pickle_is_refused_with_the_remedy_and_a_copy_is_the_same(
    everything: dict[str, Any], name: str
) -> None:
    thing = everything[name]
    with pytest.raises(TypeError, match=r"can't be pickled: .{20,}"):
        pickle.dumps(thing)
    assert copy.copy(thing) is thing
    assert copy.deepcopy([thing])[0] is thing


@pytest.mark.parametrize("name", ["Policy", "Job", "PublicIdentity", "Explanation", "Comparison"])
def test_plain_objects_pickle_and_copy(everything: dict[str, Any], name: str) -> None:
    thing = everything[name]
    assert pickle.loads(pickle.dumps(thing)) == thing  # noqa: S301 - made here
    assert copy.deepcopy(thing) == thing
