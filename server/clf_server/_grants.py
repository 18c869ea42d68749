"""Grants: an approved job is a right to so many runs until a date (docs/protocol.md §3.3)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from clf_sdk.errors import (
    AnalystRefused,
    GrantExpired,
    GrantUsedUp,
    JobNotApproved,
    JobRefused,
    JobRevoked,
    RunRefused,
    ServerPaused,
)
from clf_sdk.protocol import TakenGrant
from clf_server._audit import AuditLog
from clf_server._budgets import Charge, take_charge
from clf_server._job_store import JobStore, StoredJob, StoredRun, check_unaltered
from clf_server._metadata import Metadata
from clf_server._standing import Standing, find_standing
from clf_server._tickets import Ticket

MOST_RESUMPTIONS = 3
RECHECK_SECONDS = 5
_MOST_REMEMBERED = 4096


@dataclass(frozen=True)
class Agreed:
    """What the owner agreed to.

    Attributes
    ----------
    analyst
        Identity id of the analyst who signed the job.
    runs_before
        How many runs of the job began before this one.
    by_owner
        Whether a person approved the job, and not a policy.
    """

    analyst: str
    runs_before: int
    by_owner: bool


class Grants:
    """Decides whether a session may be opened and whether a ticket still holds.

    Parameters
    ----------
    metadata
        The database.
    jobs
        Its jobs and runs.
    audit
        The log of what is taken from privacy budgets.
    now, monotonic
        Wall clock for dates, monotonic clock for the age of what was checked.
    resume_seconds
        How long after its first session a run may go on in another enclave.
    """

    def __init__(
        self,
        metadata: Metadata,
        jobs: JobStore,
        audit: AuditLog,
        *,
        now: Callable[[], int],
        monotonic: Callable[[], float],
        resume_seconds: int,
    ) -> None:
        self._metadata = metadata
        self._jobs = jobs
        self._audit = audit
        self._now = now
        self._monotonic = monotonic
        self._resume_seconds = resume_seconds
        self._checked: dict[tuple[str, bytes], float] = {}
        self._lock = threading.Lock()

    # -- sessions ------------------------------------------------------------------------------

    def agreed(self, standing: Standing) -> Agreed:
        """Return what the owner agreed to, for the rules of policies to judge.

        Raises
        ------
        ServerPaused, JobNotApproved, JobRefused, JobRevoked, AnalystRefused, GrantExpired
            The owner does not, or no longer, agree to the job.
        """
        stored, known = self._check(standing), standing.run
        before = stored.runs_used if known is None else known.number - 1
        return Agreed(stored.analyst, before, by_owner=not stored.automatic)

    def take(
        self,
        connection: sa.Connection,
        *,
        job: str,
        run: str,
        enclave: bytes,
        versions: Mapping[str, str],
        most_runs: int,
        charges: Sequence[Charge] = (),
    ) -> TakenGrant:
        """Let a run open a session: count it when it is its first one here.

        Parameters
        ----------
        connection
            Transaction in which the session is decided.
        job
            Digest of the job.
        run
            The run's id.
        enclave
            Signing key that the quote binds.
        versions
            What each input holds, as `Version.lineage` says.
        most_runs
            How many runs of the job the tables' policies allow, whatever the owner approved.
        charges
            What a run takes from privacy budgets: once, and again when another enclave, which
            draws other noise, takes it over.

        Raises
        ------
        ServerPaused, JobNotApproved, JobRefused, JobRevoked, AnalystRefused, GrantExpired
            The owner does not, or no longer, agree to the job.
        JobAltered
            The job was changed where it is stored.
        GrantUsedUp
            No run is left.
        PolicyRefused
            A privacy budget does not suffice.
        RunRefused
            The run is of another job, or can't go on in another enclave.
        """
        # 1. The owner agrees to this job, now.
        granted, known = self._agreed(connection, job, run)
        check_unaltered(granted)

        # 2. A run that is new here takes one from the count.
        if known is None:
            taken = self._begin(connection, granted, run, enclave, versions, most_runs)
            self._charge(connection, charges, run=run, job=job)
            return taken

        # 3. A run that was counted goes on as the same run of the same job on the same data.
        if known.job != job:
            raise RunRefused("the run id is that of a run of another job", hint="start a new run")
        if known.versions != dict(versions):
            raise RunRefused(
                "a table, or the rows that may leave, changed since the run's first session",
                hint="the owner shared it anew or changed its policy; start a new run",
            )
        # 4. The enclave that carries it may open as many sessions as it needs; another one may
        #    take it over once in a while, soon after a crash, before there is any result.
        resumed = known.enclave != enclave
        if resumed:
            self._hand_over(connection, known, enclave)
            self._charge(connection, charges, run=run, job=job)
        return TakenGrant(
            number=known.number, runs=granted.runs, expires_at=granted.expires_at, resumed=resumed
        )

    def _agreed(
        self, connection: sa.Connection, job: str, run: str
    ) -> tuple[StoredJob, StoredRun | None]:
        """Return a job that the owner agrees to now, and the run if it was counted."""
        standing = find_standing(connection, job=job, run=run)
        return self._check(standing), standing.run

    def _check(self, standing: Standing) -> StoredJob:
        """Return the job, if the owner agrees to it now."""
        if standing.paused:
            raise ServerPaused("the owner paused this server", hint="ask the owner, or try later")
        stored = standing.job
        if stored is None or stored.state == "pending":
            raise JobNotApproved(
                "the owner has not approved this job",
                hint="submit it to all owners, and wait for their approval",
            )
        if stored.state == "refused":
            raise JobRefused("the owner refused this job", hint="the job's status says why")
        if stored.state == "revoked":
            raise JobRevoked(
                "the owner took the approval of this job back", hint="the job's status says why"
            )
        if not standing.analyst_known:
            raise AnalystRefused("the owner removed the analyst who asked for this job")
        if stored.expires_at <= self._now():
            raise GrantExpired(
                "the approval of this job has ended by its date",
                hint="ask the owner to approve the job again",
            )
        return stored

    def _begin(
        self,
        connection: sa.Connection,
        granted: StoredJob,
        run: str,
        enclave: bytes,
        versions: Mapping[str, str],
        most_runs: int,
    ) -> TakenGrant:
        now = self._now()
        number = self._jobs.count_run(connection, granted.digest, most_runs=most_runs, now=now)
        if number is None:
            raise GrantUsedUp(
                "as many runs of this job began as the owner approved",
                hint="ask the owner to approve more runs",
            )
        self._jobs.add_run(
            connection,
            StoredRun(
                run=run,
                job=granted.digest,
                number=number,
                enclave=enclave,
                resumptions=0,
                versions=dict(versions),
                started_at=now,
            ),
        )
        return TakenGrant(
            number=number, runs=granted.runs, expires_at=granted.expires_at, resumed=False
        )

    def _hand_over(self, connection: sa.Connection, known: StoredRun, enclave: bytes) -> None:
        if self._metadata.has_results(connection, known.run):
            raise RunRefused("the run has a result already", hint="start a new run")
        if self._now() >= known.started_at + self._resume_seconds:
            raise RunRefused(
                "the run began too long ago to go on in another enclave", hint="start a new run"
            )
        if known.resumptions >= MOST_RESUMPTIONS:
            raise RunRefused("the run was resumed too often", hint="start a new run")
        self._jobs.hand_over(connection, known.run, enclave)

    def _charge(
        self, connection: sa.Connection, charges: Sequence[Charge], *, run: str, job: str
    ) -> None:
        for charge in charges:
            details = take_charge(connection, charge, run=run, job=job, now=self._now())
            self._audit.append("budget.spent", details, connection=connection)

    # -- tickets -------------------------------------------------------------------------------

    def fresh(self, ticket: Ticket) -> bool:
        """Tell whether a ticket was checked in the last seconds."""
        with self._lock:
            checked = self._checked.get((ticket.run, ticket.enclave))
        return checked is not None and self._monotonic() - checked < RECHECK_SECONDS

    def check(self, ticket: Ticket) -> None:
        """Check that what a ticket stands on still holds; what held seconds ago is believed.

        Raises
        ------
        ServerPaused, JobNotApproved, JobRefused, JobRevoked, AnalystRefused, GrantExpired
            The owner no longer agrees to the job.
        RunRefused
            Another enclave carries the run now.
        """
        if self.fresh(ticket):
            return
        now = self._monotonic()
        with self._metadata.reading() as connection:
            self.check_now(connection, ticket)
        with self._lock:
            if len(self._checked) >= _MOST_REMEMBERED:
                self._checked.clear()
            self._checked[ticket.run, ticket.enclave] = now

    def check_now(self, connection: sa.Connection, ticket: Ticket) -> None:
        """Check the same in a transaction, and believe nothing."""
        _, known = self._agreed(connection, ticket.job, ticket.run)
        if known is None or known.enclave != ticket.enclave:
            raise RunRefused("another enclave carries this run now")

    def forget(self) -> None:
        """Check every ticket anew at its next use: the owner has decided something."""
        with self._lock:
            self._checked.clear()
