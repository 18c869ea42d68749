"""What analysts and owners say to a server about jobs (docs/protocol.md §3.1, §3.2)."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, StringConstraints

from clf_sdk.protocol._document import Base64, Document, Name, Sha256
from clf_sdk.protocol._job import JobDocument

JOB_SIGNATURE = "job"
"""Domain of the analyst's signature over a job."""

MOST_RUNS = 1_000_000
_DAY_SECONDS = 86400
LAST_SECOND = 253_402_300_799  # the end of the year 9999

JobState: TypeAlias = Literal["pending", "approved", "refused", "revoked"]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=1000)]


def end_of_day(now: int, *, days: int) -> int:
    """Return the end of the day, in UTC, that lies some days after a time.

    Who approves by it twice on one day approves the same.
    """
    return (now // _DAY_SECONDS + 1 + days) * _DAY_SECONDS


class SignedJob(Document):
    """A job and the signature of the analyst whom it names."""

    job: JobDocument
    signature: Base64


class JobStatus(Document):
    """What became of a job at one owner; ``job`` is its digest.

    ``runs``, ``runs_used`` and ``expires_at`` are the grant: how many runs the owner approved, how
    many of them began, until when; zeros before an approval. ``analyst_label`` is null for an
    analyst whom the owner has removed; ``automatic`` says that a policy approved the job, so that
    nobody did; ``decided_by`` is told to the owner only. ``purpose`` and ``operation`` are null for
    a job whose stored text is not the one that its digest names any more.
    """

    job: Sha256
    name: Name
    purpose: str | None
    operation: Name | None
    analyst: Sha256
    analyst_label: str | None
    state: JobState
    submitted_at: int
    decided_at: int | None
    decided_by: str | None
    automatic: bool
    reason: str | None
    runs: int
    runs_used: int
    expires_at: int


class JobList(Document):
    """Jobs that were submitted to a server, the latest first."""

    jobs: list[JobStatus]


class JobRecord(Document):
    """A job as it was submitted.

    ``previous`` is the digest of the last job of the same name before it.
    """

    status: JobStatus
    job: JobDocument
    signature: Base64
    previous: Sha256 | None


class JobApproval(Document):
    """How often a job may run, and until when."""

    runs: Annotated[int, Field(ge=1, le=MOST_RUNS)]
    expires_at: Annotated[int, Field(ge=1, le=LAST_SECOND)]


class JobRefusal(Document):
    """Why a job is refused, or its approval taken back; for the analyst to read."""

    reason: Reason
