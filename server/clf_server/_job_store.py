"""Jobs that were submitted here, what the owner decided, and their runs: SQL, no decisions."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from clf_sdk.errors import JobAltered
from clf_sdk.protocol import JobState
from clf_server._database import SCHEMA

_jobs = sa.Table(
    "jobs",
    SCHEMA,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("document", sa.LargeBinary, nullable=False),  # canonical JSON, to the byte
    sa.Column("signature", sa.LargeBinary, nullable=False),
    sa.Column("analyst", sa.String(64), nullable=False, index=True),
    sa.Column("name", sa.String(64), nullable=False, index=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("submitted_at", sa.BigInteger, nullable=False),
    sa.Column("decided_at", sa.BigInteger),
    sa.Column("decided_by", sa.Text),
    sa.Column("automatic", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("runs", sa.Integer, nullable=False),
    sa.Column("runs_used", sa.Integer, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False, unique=True),
)
_runs = sa.Table(
    "runs",
    SCHEMA,
    sa.Column("run", sa.String(32), primary_key=True),
    sa.Column("job", sa.String(64), sa.ForeignKey("jobs.digest"), nullable=False, index=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("enclave", sa.LargeBinary(32), nullable=False),
    sa.Column("resumptions", sa.Integer, nullable=False),
    sa.Column("versions", sa.JSON, nullable=False),
    sa.Column("started_at", sa.BigInteger, nullable=False),
)


@dataclass(frozen=True)
class StoredJob:
    """A job as it was submitted, and what became of it.

    Attributes
    ----------
    digest
        Its identity.
    document
        Its canonical JSON, to the byte.
    signature
        The analyst's.
    analyst
        Identity id of the analyst.
    name
        What the job is called.
    state
        What the owner decided.
    submitted_at, decided_at
        Unix seconds.
    decided_by
        Label of the owner's token; None for a policy.
    automatic
        Whether a policy approved it.
    reason
        Why it was refused or revoked.
    runs, runs_used, expires_at
        The grant: how many runs, how many of them began, until when. Zeros before an approval.
    number
        Counts the jobs of this server in the order of their submission.
    """

    digest: str
    document: bytes
    signature: bytes
    analyst: str
    name: str
    state: JobState
    submitted_at: int
    decided_at: int | None
    decided_by: str | None
    automatic: bool
    reason: str | None
    runs: int
    runs_used: int
    expires_at: int
    number: int


@dataclass(frozen=True)
class StoredRun:
    """A run that was counted.

    Attributes
    ----------
    run, job
        Its id, and the digest of its job.
    number
        Which of the job's runs it is, from 1.
    enclave
        Signing key of the enclave that carries it now.
    resumptions
        How often another enclave took it over.
    versions
        Dataset version of each input, by the input's name.
    started_at
        Unix seconds of the first session.
    """

    run: str
    job: str
    number: int
    enclave: bytes
    resumptions: int
    versions: dict[str, str]
    started_at: int


def check_unaltered(job: StoredJob) -> None:
    """Check that the stored text of a job is the one that its digest names.

    Raises
    ------
    JobAltered
        It was changed where it is stored.
    """
    # SQLite keeps a text where somebody wrote one, whatever the column's type.
    stored = job.document if isinstance(job.document, bytes) else b""
    if hashlib.sha256(stored).hexdigest() != job.digest:
        raise JobAltered(
            f"the stored text of job {job.digest[:12]}… is not the one that its digest names",
            hint="the database was edited or is damaged; the job can't be approved or run",
        )


class JobStore:
    """Tables of jobs and runs. Every method works in a transaction that the caller has opened."""

    def find(self, connection: sa.Connection, digest: str) -> StoredJob | None:
        """Return a job, or None."""
        row = connection.execute(sa.select(_jobs).where(_jobs.c.digest == digest)).first()
        return StoredJob(*row) if row else None

    def list(
        self,
        connection: sa.Connection,
        *,
        analyst: str | None = None,
        state: JobState | None = None,
        name: str | None = None,
        before: int | None = None,
        limit: int | None = None,
    ) -> list[StoredJob]:
        """Return jobs, the latest first; what is given must hold."""
        query = sa.select(_jobs).order_by(_jobs.c.number.desc()).limit(limit)
        for column, value in (("analyst", analyst), ("state", state), ("name", name)):
            if value is not None:
                query = query.where(_jobs.c[column] == value)
        if before is not None:
            query = query.where(_jobs.c.number < before)
        return [StoredJob(*row) for row in connection.execute(query)]

    def count_pending(self, connection: sa.Connection, analyst: str) -> int:
        """Return how many of an analyst's jobs wait for a decision."""
        query = sa.select(sa.func.count()).where(
            _jobs.c.analyst == analyst, _jobs.c.state == "pending"
        )
        return connection.execute(query).scalar_one()

    def count_since(self, connection: sa.Connection, analyst: str, since: int) -> int:
        """Return how many jobs an analyst has submitted since a time."""
        query = sa.select(sa.func.count()).where(
            _jobs.c.analyst == analyst, _jobs.c.submitted_at > since
        )
        return connection.execute(query).scalar_one()

    def next_number(self, connection: sa.Connection) -> int:
        """Return the number of the next job."""
        last = connection.execute(sa.select(sa.func.max(_jobs.c.number))).scalar_one()
        return 1 if last is None else int(last) + 1

    def add(self, connection: sa.Connection, job: StoredJob) -> None:
        """Store a job that is new here."""
        connection.execute(sa.insert(_jobs).values(**vars(job)))

    def change(self, connection: sa.Connection, digest: str, **values: Any) -> None:
        """Write down a decision."""
        connection.execute(sa.update(_jobs).where(_jobs.c.digest == digest).values(**values))

    def find_run(self, connection: sa.Connection, run: str) -> StoredRun | None:
        """Return a run that was counted, or None."""
        row = connection.execute(sa.select(_runs).where(_runs.c.run == run)).first()
        return StoredRun(*row) if row else None

    def count_run(
        self, connection: sa.Connection, digest: str, *, most_runs: int, now: int
    ) -> int | None:
        """Take one run from a job's grant, if there is one left; return its number.

        ``most_runs`` limits it beside the grant. The condition and the count are one statement, so
        no two runs can take the last one.
        """
        taken = connection.execute(
            sa.update(_jobs)
            .where(
                _jobs.c.digest == digest,
                _jobs.c.state == "approved",
                _jobs.c.runs_used < _jobs.c.runs,
                _jobs.c.runs_used < most_runs,
                _jobs.c.expires_at > now,
            )
            .values(runs_used=_jobs.c.runs_used + 1)
            .returning(_jobs.c.runs_used)
        )
        return taken.scalar_one_or_none()

    def add_run(self, connection: sa.Connection, run: StoredRun) -> None:
        """Store a run that was just counted."""
        connection.execute(sa.insert(_runs).values(**vars(run)))

    def hand_over(self, connection: sa.Connection, run: str, enclave: bytes) -> None:
        """Let another enclave carry a run."""
        connection.execute(
            sa.update(_runs)
            .where(_runs.c.run == run)
            .values(enclave=enclave, resumptions=_runs.c.resumptions + 1)
        )
