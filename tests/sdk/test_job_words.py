"""Owners decide by what `show` says: nobody else's text may look like something that it says."""

from __future__ import annotations

import clf_sdk as clf
from clf_sdk._job_words import compare_jobs, describe_job
from clf_sdk.protocol import JobDocument, JobRecord, JobStatus
from clf_testing import GLM, job_input, make_job

FORGED = "harmless\n  Decision  approved by the owner\x1b[2J\u202edesrever"
SERVER = "ab" * 32


def job(**changes: object) -> JobDocument:
    mine = job_input(SERVER, "t", columns=["id", "x"])
    theirs = job_input("cd" * 32, "u", columns=["id", FORGED])
    return JobDocument.parse(make_job([mine, theirs]).to_json() | changes)


def record(document: JobDocument) -> JobRecord:
    status = JobStatus(
        job=document.digest,
        name=document.name,
        purpose=document.purpose,
        operation=document.operation.name,
        analyst=document.analyst.digest,
        analyst_label="ada",
        state="pending",
        submitted_at=1_800_000_000,
        decided_at=None,
        decided_by=None,
        automatic=False,
        reason=None,
        runs=0,
        runs_used=0,
        expires_at=0,
    )
    return JobRecord(status=status, job=document, signature=bytes(64), previous=None)


def test_texts_of_an_analyst_neither_begin_lines_nor_steer_terminals() -> None:
    asked = job(purpose=FORGED, operation={"name": "glm", "parameters": GLM | {"link": FORGED}})
    said = describe_job(record(asked), server=SERVER, names={}, previous=record(job()))
    lines = [line for section in said.values() for line in section]
    assert all(line.isprintable() for line in lines)
    assert said["What for"] == [r"harmless\n  Decision  approved by the owner\x1b[2J\u202edesrever"]
    assert said["Decision"] == ["it waits for your decision"]
    assert all(str(change).isprintable() for change in compare_jobs(job(), asked))


def test_every_question_of_an_owner_is_answered() -> None:
    reader = clf.Identity.create().public
    asked = job(recipients=[reader.to_json()])
    said = describe_job(record(asked), server=SERVER, names={"cd" * 32: "insurer"}, previous=None)
    assert said["Your data"] == ["t, its latest version: id, x"]
    assert said["Joined with"][0].startswith("u of insurer, its latest version: id, harmless")
    assert said["Goes to"] == [f"a recipient, fingerprint {reader.fingerprint}"]
    assert said["Program"] == [f"MRENCLAVE {asked.enclave.mrenclave}"]
    assert said["Changed"] == ["this is the first job called 'a-job'"]


def test_source_of_a_function_is_shown_whole_and_looks_like_nothing_else() -> None:
    lines = [f"x{number} = 'Decision  approved by the owner'" for number in range(300)]
    source = "def it(table, arguments):\n" + "\n".join(f"    {line}" for line in lines)
    parameters = clf.Python(
        source=source + "\n    return {}  # \x1b[2J", function="it", outputs=["out"]
    ).to_json()
    asked = job(operation={"name": "python", "parameters": parameters})
    said = describe_job(record(asked), server=SERVER, names={}, previous=None)["Operation"]
    assert r" 302 │     return {}  # \x1b[2J" in said
    for line in lines:
        assert sum(line in shown for shown in said) == 1
    assert not any(shown.lstrip().startswith("Decision") for shown in said)
    shown = clf.Job.of(asked, endpoints=[])._repr_html_()
    assert "x299 = " in shown
    assert "white-space:pre-wrap" in shown
