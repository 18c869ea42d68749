"""Jobs: analysts submit them, the owner decides about them (docs/protocol.md §3.1, §3.2)."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from clf_sdk.errors import (
    AnalystRefused,
    ClfError,
    Conflict,
    InvalidInput,
    InvalidJob,
    JobAltered,
    NotFound,
    TooLarge,
)
from clf_sdk.keys import verify_signature
from clf_sdk.policy import AccessRequest, decide
from clf_sdk.protocol import (
    JOB_SIGNATURE,
    MOST_RUNS,
    JobApproval,
    JobDocument,
    JobList,
    JobRecord,
    JobState,
    JobStatus,
    SignedJob,
    end_of_day,
    parse_json,
)
from clf_server._access import Principal
from clf_server._budgets import find_spent
from clf_server._inputs import asked_columns
from clf_server._job_store import StoredJob, check_unaltered
from clf_server._policies import Policies
from clf_server._state import ServerState
from clf_server._vault import Vault

MOST_PENDING = 100
MOST_A_DAY = 1000
MOST_JOB_BYTES = 1 << 20
_DAY_SECONDS = 86400
_AUTOMATIC_DAYS = 30


class Jobs:
    """Jobs of one server. Each decision and its entry in the audit log are one transaction.

    Parameters
    ----------
    state
        The server.
    vault
        Opens manifests, to check what a job asks for.
    policies
        Those of the tables, which can approve by themselves.
    """

    def __init__(self, state: ServerState, vault: Vault, policies: Policies) -> None:
        self._state = state
        self._vault = vault
        self._policies = policies

    # -- analysts ------------------------------------------------------------------------------

    def submit(self, signed: SignedJob, principal: Principal) -> JobStatus:
        """Take a job of an analyst; the same job again changes nothing.

        Raises
        ------
        AnalystRefused
            The token is not that of the analyst whom the job names.
        SignatureInvalid
            The analyst did not sign the job.
        InvalidJob, NotFound
            The job asks nothing of this server, or what is not there.
        TooLarge
            Too many jobs of this analyst wait for a decision.
        """
        state, job = self._state, signed.job
        try:
            self._check_analyst(signed, principal)
            if not self._is_known(job.digest):
                self._check_inputs(job)
            self._take(signed)
        except ClfError as error:
            refused = {"reason": error.message, "job": job.digest}
            cause = {"code": error.code, "analyst": principal.analyst}
            state.refusals.record("submission.refused", refused, cause=cause)
            raise
        return self._now(job.digest, principal)

    def _take(self, signed: SignedJob) -> None:
        state, job = self._state, signed.job
        approval = self._by_policy(job)
        with state.metadata.transaction() as connection:
            stored = state.jobs.find(connection, job.digest)
            if stored is None:
                stored = self._add(connection, signed, job.analyst.digest)
            renewed = stored.state == "approved" and stored.automatic
            if approval is not None and (stored.state == "pending" or renewed):
                self._approve(connection, stored, approval, by=None)

    def _is_known(self, digest: str) -> bool:
        with self._state.metadata.reading() as connection:
            return self._state.jobs.find(connection, digest) is not None

    def _check_analyst(self, signed: SignedJob, principal: Principal) -> None:
        job = signed.job
        # 1. The token is that of the analyst whom the job names, and whom the owner added.
        if principal.analyst != job.analyst.digest:
            raise AnalystRefused(
                "the job names another analyst than the one whose token this is",
                hint="submit it with your own profile and identity",
            )
        # 2. The analyst signed exactly this job.
        verify_signature(job.analyst.signing_key, JOB_SIGNATURE, job.to_json(), signed.signature)

    def _check_inputs(self, job: JobDocument) -> None:
        # 3. The job asks something of this server, and what it asks for is there.
        known = self._state.identities.known()
        entries = [entry for entry in job.inputs if entry.server in known]
        named = {entry.server for entry in entries}
        if not entries:
            raise InvalidJob("the job asks nothing of this server")
        if len(named) > 1:
            raise InvalidJob(
                "the job names this server by two of its identities",
                hint="connect again, and make the job of its tables as they are now",
            )
        if not named <= set(self._state.identities.offered(now=self._state.now())):
            raise InvalidJob(
                "the job names this server by an identity that it gave up",
                hint="connect again, and make the job of its tables as they are now",
            )
        for entry in entries:
            current = self._state.metadata.table(entry.table).current
            asked_columns(entry, current, self._vault.manifest(current).schema.names)

    def _add(self, connection: sa.Connection, signed: SignedJob, analyst: str) -> StoredJob:
        # 4. It is kept to the byte, under its digest.
        state, job = self._state, signed.job
        document = job.canonical()
        if len(document) > MOST_JOB_BYTES:
            raise TooLarge(f"the job has more than {MOST_JOB_BYTES >> 20} MiB")
        if state.jobs.count_pending(connection, analyst) >= MOST_PENDING:
            raise TooLarge(
                f"{MOST_PENDING} of your jobs wait for this owner's decision",
                hint="wait until some are decided",
            )
        since = state.now() - _DAY_SECONDS
        if state.jobs.count_since(connection, analyst, since) >= MOST_A_DAY:
            raise TooLarge(
                f"you submitted {MOST_A_DAY:,} jobs to this owner within a day",
                hint="wait; the same job can run several times",
            )
        stored = StoredJob(
            digest=job.digest,
            document=document,
            signature=signed.signature,
            analyst=analyst,
            name=job.name,
            state="pending",
            submitted_at=state.now(),
            decided_at=None,
            decided_by=None,
            automatic=False,
            reason=None,
            runs=0,
            runs_used=0,
            expires_at=0,
            number=state.jobs.next_number(connection),
        )
        state.jobs.add(connection, stored)
        submitted = {"job": stored.digest, "name": stored.name, "analyst": analyst}
        state.audit.append("job.submitted", submitted, connection=connection)
        return stored

    def _by_policy(self, job: JobDocument) -> JobApproval | None:
        """Return what the policies of all tables approve by themselves; None when they do not.

        What a session must prove they ask of each session.
        """
        state = self._state
        now = state.now()
        runs, ends = MOST_RUNS, [end_of_day(now, days=_AUTOMATIC_DAYS)]
        known = state.identities.known()
        for entry in job.inputs:
            if entry.server not in known:
                continue
            table = state.metadata.find_table(entry.table)
            if table is None:
                return None
            policy = self._policies.of(table)
            schema = self._vault.manifest(table.current).schema
            with state.metadata.reading() as connection:
                spent = find_spent(connection, table.name)
            question = AccessRequest(
                job=job,
                entry=entry,
                now=now,
                analyst=job.analyst.digest,
                columns=schema.names,
                schema=schema,
                runs_used=0,
                approved=False,
                privacy_spent=spent,
            )
            verdicts = [each for each in decide(policy, question) if each.rule != "enclave"]
            if any(each.outcome in ("refused", "unknown") for each in verdicts):
                return None
            runs = min(runs, policy.runs)
            if policy.expires is not None:
                ends.append(int(policy.expires.timestamp()))
        return JobApproval(runs=runs, expires_at=min(ends))

    # -- both ----------------------------------------------------------------------------------

    def list(
        self,
        principal: Principal,
        *,
        state: JobState | None,
        name: str | None,
        limit: int,
    ) -> JobList:
        """Return jobs, the latest first; an analyst sees its own."""
        with self._state.metadata.reading() as connection:
            found = self._state.jobs.list(
                connection, analyst=principal.analyst, state=state, name=name, limit=limit
            )
            jobs = [self._status(connection, stored, principal) for stored in found]
        return JobList(jobs=jobs)

    def record(self, digest: str, principal: Principal) -> JobRecord:
        """Return a job as it was submitted.

        Raises
        ------
        NotFound
            There is none of that digest, or it is another analyst's.
        JobAltered
            It was changed where it is stored.
        """
        with self._state.metadata.reading() as connection:
            stored = self._find(connection, digest)
            if principal.analyst not in (None, stored.analyst):
                raise _unknown(digest)
            before = self._state.jobs.list(
                connection,
                analyst=principal.analyst,
                name=stored.name,
                before=stored.number,
                limit=1,
            )
            return JobRecord(
                status=self._status(connection, stored, principal),
                job=_document(stored),
                signature=stored.signature,
                previous=before[0].digest if before else None,
            )

    # -- the owner -----------------------------------------------------------------------------

    def approve(self, digest: str, approval: JobApproval, principal: Principal) -> JobStatus:
        """Let a job run so many times until a date; to repeat it changes nothing.

        Raises
        ------
        NotFound
            There is none of that digest.
        JobAltered
            It was changed where it is stored.
        Conflict
            It was refused or revoked.
        InvalidInput
            The date has passed.
        """
        state = self._state
        if approval.expires_at <= state.now():
            raise InvalidInput("an approval can't end before it begins")
        try:
            with state.metadata.transaction() as connection:
                stored = self._find(connection, digest)
                self._approve(connection, stored, approval, by=principal.label)
        except JobAltered as error:
            details = {"reason": error.message, "by": principal.label}
            state.refusals.record("job.altered", details, cause={"job": digest})
            raise
        state.grants.forget()
        return self._now(digest, principal)

    def _approve(
        self, connection: sa.Connection, stored: StoredJob, approval: JobApproval, *, by: str | None
    ) -> None:
        """Approve a job for the owner, or for the tables' policies when nobody is named."""
        check_unaltered(stored)
        if stored.state not in ("pending", "approved"):
            raise _final(stored)
        grant = {
            "automatic": by is None,
            "runs": approval.runs,
            "expires_at": approval.expires_at,
        }
        if stored.state == "approved" and all(vars(stored)[key] == grant[key] for key in grant):
            return
        details = grant | {"runs_used": stored.runs_used}
        self._decide(connection, stored, "approved", by, details, **grant)

    def refuse(self, digest: str, reason: str, principal: Principal) -> JobStatus:
        """Refuse a job that waits; to repeat it changes nothing.

        Raises
        ------
        NotFound
            There is none of that digest.
        Conflict
            It does not wait any more.
        """
        return self._end(digest, reason, principal, given="pending", then="refused")

    def revoke(self, digest: str, reason: str, principal: Principal) -> JobStatus:
        """Take the approval of a job back: no session from now on, and its tickets die.

        Raises
        ------
        NotFound
            There is none of that digest.
        Conflict
            It was not approved.
        """
        return self._end(digest, reason, principal, given="approved", then="revoked")

    def _end(
        self, digest: str, reason: str, principal: Principal, *, given: JobState, then: JobState
    ) -> JobStatus:
        state = self._state
        with state.metadata.transaction() as connection:
            stored = self._find(connection, digest)
            if stored.state == given:
                details = {"reason": reason}
                self._decide(connection, stored, then, principal.label, details, reason=reason)
            elif stored.state != then:
                raise _final(stored)
        state.grants.forget()
        return self._now(digest, principal)

    def _decide(
        self,
        connection: sa.Connection,
        stored: StoredJob,
        decision: JobState,
        by: str | None,
        details: dict[str, Any],
        **values: Any,
    ) -> None:
        state = self._state
        state.jobs.change(
            connection,
            stored.digest,
            state=decision,
            decided_at=state.now(),
            decided_by=by,
            **values,
        )
        who = {"job": stored.digest, "analyst": stored.analyst, "by": by}
        state.audit.append(f"job.{decision}", who | details, connection=connection)

    def _find(self, connection: sa.Connection, digest: str) -> StoredJob:
        stored = self._state.jobs.find(connection, digest)
        if stored is None:
            raise _unknown(digest)
        return stored

    def _now(self, digest: str, principal: Principal) -> JobStatus:
        with self._state.metadata.reading() as connection:
            return self._status(connection, self._find(connection, digest), principal)

    def _status(
        self, connection: sa.Connection, stored: StoredJob, principal: Principal
    ) -> JobStatus:
        try:
            job = _document(stored)
        except JobAltered:  # the others are listed all the same, and this one can be revoked
            job = None
        return JobStatus(
            job=stored.digest,
            name=stored.name,
            purpose=None if job is None else job.purpose,
            operation=None if job is None else job.operation.name,
            analyst=stored.analyst,
            analyst_label=self._state.analysts.labels(connection).get(stored.analyst),
            state=stored.state,
            submitted_at=stored.submitted_at,
            decided_at=stored.decided_at,
            decided_by=stored.decided_by if principal.role == "owner" else None,
            automatic=stored.automatic,
            reason=stored.reason,
            runs=stored.runs,
            runs_used=stored.runs_used,
            expires_at=stored.expires_at,
        )


def _document(stored: StoredJob) -> JobDocument:
    check_unaltered(stored)
    return JobDocument.parse(parse_json(stored.document, what="stored job"))


def _unknown(digest: str) -> NotFound:
    return NotFound(
        f"no job {digest[:12]}… was submitted to this server",
        hint="`clf job list` shows those that were",
    )


def _final(stored: StoredJob) -> Conflict:
    hints = {
        "pending": "approve or refuse it",
        "approved": "revoke it",
        "refused": "that is final; the analyst can submit another job",
        "revoked": "that is final; the analyst can submit another job",
    }
    return Conflict(f"job {stored.digest[:12]}… is {stored.state}", hint=hints[stored.state])
