"""``requests()``: the jobs that analysts submitted to an owner, and the owner's decisions."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, overload

from clf_sdk._cards import Identifier, Shown, card, frame_html
from clf_sdk._connection import Connection, known_names, only_connection
from clf_sdk._job_words import Change, compare_jobs, describe_job
from clf_sdk._not_picklable import NotPicklable
from clf_sdk.errors import InvalidInput, JobAltered, NotFound
from clf_sdk.keys import verify_signature
from clf_sdk.protocol import (
    JOB_SIGNATURE,
    JobDocument,
    JobList,
    JobRecord,
    JobState,
    JobStatus,
    end_of_day,
)

if TYPE_CHECKING:
    import pandas as pd

_FEWEST_DIGITS = 8
_DEFAULT_DAYS = 30
_COLUMNS = ["name", "digest", "analyst", "operation", "state", "runs", "runs_used", "submitted_at"]


@dataclass(frozen=True, repr=False)
class JobRequest(NotPicklable):
    """A job that an analyst submitted to an owner, from `requests`.

    Attributes
    ----------
    connection
        To the owner's server.
    status
        What the owner has decided so far.
    """

    _not_pickled: ClassVar[str] = "it belongs to an open connection; ask again with clf.requests()"

    connection: Connection
    status: JobStatus

    def __repr__(self) -> str:
        status = self.status
        asks = status.analyst_label or "a removed analyst"
        return (
            f"JobRequest({status.name!r} of {asks}: {status.operation or 'ALTERED'}, "
            f"{status.state}; "
            f"digest {status.job[:12]}…)"
        )

    def _repr_html_(self) -> str:
        rows: dict[str, Shown] = {"Digest": Identifier(self.digest), **self._described()}
        simulation = self.connection.mode == "simulation"
        return card("Request", f"{self.status.name} ({self.state})", rows, simulation=simulation)

    @property
    def digest(self) -> str:
        """Identity of the job: 64 hex digits."""
        return self.status.job

    @property
    def state(self) -> JobState:
        """``"pending"``, ``"approved"``, ``"refused"`` or ``"revoked"``."""
        return self.status.state

    @property
    def job(self) -> JobDocument:
        """The job document, whose digest and signature were checked.

        Raises
        ------
        JobAltered
            The server shows another job than the one that it names.
        SignatureInvalid
            The analyst did not sign it.
        """
        return self._record(self.digest).job

    @property
    def changes(self) -> tuple[Change, ...]:
        """What differs from the last job of the same name; empty when there was none."""
        record = self._record(self.digest)
        if record.previous is None:
            return ()
        return compare_jobs(self._record(record.previous).job, record.job)

    def _record(self, digest: str) -> JobRecord:
        record = self.connection.http.ask(JobRecord, "GET", f"/v1/jobs/{digest}")
        job = record.job
        if (job.digest, record.status.job, record.status.analyst) != (
            digest,
            digest,
            job.analyst.digest,
        ):
            raise JobAltered(
                f"{self.connection.name!r} shows another job than {digest[:12]}…",
                hint="approve nothing there before its operator has looked into it",
            )
        verify_signature(job.analyst.signing_key, JOB_SIGNATURE, job.to_json(), record.signature)
        return record

    def _described(self) -> dict[str, list[str]]:
        record = self._record(self.digest)
        previous = None if record.previous is None else self._record(record.previous)
        named = record.job.servers()
        mine = next((each for each in self.connection.known_as if each in named), "")
        return describe_job(record, server=mine, names=known_names(), previous=previous)

    def show(self) -> str:
        """Say in plain words who asks, for what, on which data, and what differs from last time.

        Raises
        ------
        JobAltered
            The server shows another job than the one that it names.
        SignatureInvalid
            The analyst did not sign it.
        """
        sections = self._described()
        width = max(map(len, sections))
        lines = [f"Job {self.status.name!r}, digest {self.digest}"]
        for title, said in sections.items():
            lines.extend(
                f"  {title if number == 0 else '':<{width}}  {line}"
                for number, line in enumerate(said)
            )
        return "\n".join(lines)

    def approve(
        self, *, runs: int = 1, until: dt.datetime | dt.timedelta | None = None
    ) -> JobRequest:
        """Let the job run: exactly this digest, so many times, until a date.

        The numbers are absolute: to approve again with the same changes nothing, with others it
        changes how often the job may run in all.

        Parameters
        ----------
        runs
            How many runs may begin, counting those that did.
        until
            Aware date and time, or how long from now; by default the end of the 30th day (UTC).

        Returns
        -------
        JobRequest
            The request as it is now.

        Raises
        ------
        Conflict
            The job was refused or revoked before.
        JobAltered, SignatureInvalid
            The server does not show the job that the analyst signed.
        InvalidInput
            The number or the date can't be used.
        """
        digest = self._record(self.digest).job.digest
        body = {"runs": _count(runs), "expires_at": _seconds(until)}
        return self._decide(digest, "approval", body)

    def refuse(self, reason: str) -> JobRequest:
        """Refuse a job that waits. That is final, and the analyst can read the reason.

        Raises
        ------
        Conflict
            The job does not wait any more.
        """
        return self._decide(self.digest, "refusal", {"reason": reason})

    def revoke(self, reason: str = "the owner took the approval back") -> JobRequest:
        """Take the approval back. That is final; runs end, and no other begins.

        Raises
        ------
        Conflict
            The job was not approved.
        """
        return self._decide(self.digest, "revocation", {"reason": reason})

    def refresh(self) -> JobRequest:
        """Ask the server anew."""
        return JobRequest(self.connection, self._record(self.digest).status)

    def _decide(self, digest: str, decision: str, body: dict[str, Any]) -> JobRequest:
        status = self.connection.http.ask(
            JobStatus,
            "POST",
            f"/v1/jobs/{digest}/{decision}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        return JobRequest(self.connection, status)


def _count(runs: int) -> int:
    if type(runs) is not int or runs < 1:
        raise InvalidInput("runs must be an integer of at least 1")
    return runs


def _seconds(until: dt.datetime | dt.timedelta | None) -> int:
    now = dt.datetime.now(dt.UTC)
    if until is None:
        return end_of_day(int(now.timestamp()), days=_DEFAULT_DAYS)
    if isinstance(until, dt.timedelta):
        until = now + until
    if until.tzinfo is None:
        raise InvalidInput(
            "until must say its time zone", hint="for example datetime(2027, 1, 1, tzinfo=UTC)"
        )
    return int(until.timestamp())


class JobRequests(Sequence[JobRequest]):
    """The jobs that were submitted to an owner, the latest first, from `requests`.

    Index it by position, or by the job's digest or the first 8 or more digits of it. Not by name:
    an analyst can submit another job of the same name between a look and an approval.
    """

    def __init__(self, found: Sequence[JobRequest]) -> None:
        self._found = tuple(found)

    def __repr__(self) -> str:
        waiting = sum(request.state == "pending" for request in self._found)
        return f"JobRequests({len(self._found)} jobs, {waiting} pending)"

    def _repr_html_(self) -> str:
        return frame_html(self.to_pandas())

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[JobRequest]:
        return iter(self._found)

    @overload
    def __getitem__(self, key: int | str) -> JobRequest: ...

    @overload
    def __getitem__(self, key: slice) -> Sequence[JobRequest]: ...

    def __getitem__(self, key: int | str | slice) -> JobRequest | Sequence[JobRequest]:
        """Return one request, or some of them.

        Raises
        ------
        NotFound
            No job has this digest.
        InvalidInput
            Several jobs have a digest that begins like this.
        """
        if isinstance(key, slice):
            return JobRequests(self._found[key])
        if isinstance(key, int):
            return self._found[key]
        found = [request for request in self._found if request.digest.startswith(key)]
        if len(key) < _FEWEST_DIGITS or not found:
            raise NotFound(
                f"no job here has a digest that begins with {key[:64]!r}",
                hint=f"give at least {_FEWEST_DIGITS} digits of it, as `clf job list` shows them",
            )
        if len(found) > 1:
            raise InvalidInput(f"{len(found)} digests begin with {key!r}", hint="give more digits")
        return found[0]

    def to_pandas(self) -> pd.DataFrame:
        """Return one row a job."""
        import pandas as pd  # noqa: PLC0415 - only this method needs pandas

        rows = [
            {
                "name": status.name,
                "digest": status.job,
                "analyst": status.analyst_label,
                "operation": status.operation,
                "state": status.state,
                "runs": status.runs,
                "runs_used": status.runs_used,
                "submitted_at": pd.Timestamp(status.submitted_at, unit="s", tz="UTC"),
            }
            for status in (request.status for request in self._found)
        ]
        return pd.DataFrame(rows, columns=_COLUMNS)


def requests(
    connection: Connection | None = None, *, state: JobState | None = None, limit: int = 200
) -> JobRequests:
    """List the jobs that analysts submitted to an owner, the latest first.

    Parameters
    ----------
    connection
        To the owner's server, with the owner's profile; by default the only connection there is.
    state
        Only jobs in this state.
    limit
        How many at most, up to 1,000.

    Returns
    -------
    JobRequests
        A sequence; each item can be shown, approved, refused or revoked.
    """
    asked = only_connection() if connection is None else connection
    options: dict[str, Any] = {"limit": limit}
    if state is not None:
        options["state"] = state
    listed = asked.http.ask(JobList, "GET", "/v1/jobs", params=options)
    return JobRequests([JobRequest(asked, status) for status in listed.jobs])
