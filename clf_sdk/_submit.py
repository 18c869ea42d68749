"""``submit()``: sign a job and send it to every owner whose table it names."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tqdm.auto import tqdm

from clf_sdk._cards import Identifier, card, frame_html
from clf_sdk._connection import Connection, connections_to
from clf_sdk._identity import Identity
from clf_sdk._job import Job
from clf_sdk._not_picklable import NotPicklable
from clf_sdk.errors import (
    ConfigurationError,
    DeadlineExceeded,
    JobAltered,
    JobRefused,
    JobRevoked,
)
from clf_sdk.protocol import JOB_SIGNATURE, JobRecord, JobStatus, canonical_json

if TYPE_CHECKING:
    import pandas as pd

_POLL_SECONDS = 1.0
_COLUMNS = ["owner", "state", "runs", "runs_used", "until", "reason"]


@dataclass(frozen=True, repr=False)
class Submission(NotPicklable):
    """What the owners of a job have decided so far, from `submit`.

    Attributes
    ----------
    job
        The job.
    connections
        To the servers of its owners.
    statuses
        What each owner decided, by the name of its server.
    """

    _not_pickled: ClassVar[str] = (
        "it belongs to open connections; submit(job) again tells what owners decided"
    )

    job: Job
    connections: tuple[Connection, ...]
    statuses: Mapping[str, JobStatus]

    def __repr__(self) -> str:
        by_state: dict[str, list[str]] = {}
        for owner, status in self.statuses.items():
            by_state.setdefault(status.state, []).append(owner)
        said = "; ".join(f"{state}: {', '.join(owners)}" for state, owners in by_state.items())
        return f"Submission({self.job.name!r}, digest {self.job.digest[:12]}…; {said})"

    def _repr_html_(self) -> str:
        return card(
            "Submission",
            self.job.name,
            {"digest": Identifier(self.job.digest)},
            simulation=any(connection.mode == "simulation" for connection in self.connections),
            body=frame_html(self.to_pandas()),
        )

    @property
    def approved(self) -> bool:
        """Whether every owner has approved the job."""
        return all(status.state == "approved" for status in self.statuses.values())

    @property
    def waiting(self) -> tuple[str, ...]:
        """Names of the owners who have not decided yet."""
        return tuple(owner for owner, status in self.statuses.items() if status.state == "pending")

    def refresh(self) -> Submission:
        """Ask all owners anew."""
        return Submission(self.job, self.connections, _ask(self.job, self.connections))

    def wait(
        self, *, timeout_seconds: float | None = None, progress: bool | None = None
    ) -> Submission:
        """Wait until every owner has approved the job, and say for whom.

        Interrupting stops the waiting and nothing else.

        Parameters
        ----------
        timeout_seconds
            How long at most; by default without limit.
        progress
            Whether to show a progress bar; by default only on a terminal or in a notebook.

        Returns
        -------
        Submission
            What the owners have decided.

        Raises
        ------
        JobRefused, JobRevoked
            An owner said no; the message has the reason.
        DeadlineExceeded
            Owners have not decided in time.
        """
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        now, disable = self, None if progress is None else not progress
        with tqdm(total=len(self.statuses), desc=f"ask {self.job.name}", disable=disable) as bar:
            while True:
                now._check_refused()
                bar.set_postfix_str(
                    f"waiting for {', '.join(now.waiting)}" if now.waiting else "", refresh=False
                )
                bar.update(len(now.statuses) - len(now.waiting) - bar.n)
                if now.approved:
                    return now
                bar.refresh()
                if deadline is not None and time.monotonic() > deadline:
                    raise DeadlineExceeded(
                        f"still waiting for the approval by: {', '.join(now.waiting)}",
                        hint="submit it again later to see what they decided",
                    )
                time.sleep(_POLL_SECONDS)
                now = now.refresh()

    def _check_refused(self) -> None:
        kinds = {"refused": JobRefused, "revoked": JobRevoked}
        for owner, status in self.statuses.items():
            if status.state in kinds:
                raise kinds[status.state](
                    f"{owner!r} has {status.state} the job: {status.reason}",
                    hint="what you change to ask again is another job",
                )

    def to_pandas(self) -> pd.DataFrame:
        """Return one row an owner, with what it decided."""
        import pandas as pd  # noqa: PLC0415 - only this method needs pandas

        rows = [
            {
                "owner": owner,
                "state": status.state,
                "runs": status.runs,
                "runs_used": status.runs_used,
                "until": pd.Timestamp(status.expires_at, unit="s", tz="UTC")
                if status.expires_at
                else pd.NaT,
                "reason": status.reason,
            }
            for owner, status in self.statuses.items()
        ]
        return pd.DataFrame(rows, columns=_COLUMNS)


def _ask(job: Job, connections: Sequence[Connection]) -> dict[str, JobStatus]:
    path = f"/v1/jobs/{job.digest}"
    return {
        connection.name: _checked(
            job, connection, connection.http.ask(JobRecord, "GET", path).status
        )
        for connection in connections
    }


def _checked(job: Job, connection: Connection, status: JobStatus) -> JobStatus:
    if status.job != job.digest:
        raise JobAltered(f"{connection.name!r} answers about another job than the one submitted")
    return status


def submit(
    job: Job,
    *,
    identity: Identity | None = None,
    connections: Sequence[Connection] | None = None,
) -> Submission:
    """Sign a job, and send it to every owner whose table it names.

    To submit the same job again changes nothing, and tells what the owners have decided.

    Parameters
    ----------
    job
        The job.
    identity
        The analyst's whom the job names; by default this user's own.
    connections
        To the servers of the job's owners; by default those that this process has made with an
        analyst's profile.

    Raises
    ------
    ConfigurationError
        An owner is not connected, or the identity is not that of the job's analyst.
    AnalystRefused
        An owner does not know the analyst.
    NotFound
        An owner does not have what the job asks for.
    """
    signer = Identity.mine() if identity is None else identity
    if signer.id != job.document.analyst.digest:
        raise ConfigurationError(
            "the job names another analyst than this identity",
            hint="submit it with the identity that it was built with",
        )
    servers = job.document.servers()
    given = connections_to(servers, role="analyst") if connections is None else list(connections)
    by_server = {server: each for each in given for server in each.known_as}
    if missing := [server for server in servers if server not in by_server]:
        raise ConfigurationError(
            f"{len(missing)} of the job's {len(servers)} owners are not connected",
            hint="connect to each of them with your analyst's profile",
        )
    document = job.to_json()
    signature = base64.b64encode(signer.sign(JOB_SIGNATURE, document)).decode()
    body = canonical_json({"job": document, "signature": signature})
    chosen = tuple(by_server[server] for server in servers)
    statuses = {
        connection.name: _checked(
            job,
            connection,
            connection.http.ask(
                JobStatus,
                "POST",
                "/v1/jobs",
                data=body,
                headers={"Content-Type": "application/json"},
            ),
        )
        for connection in chosen
    }
    return Submission(job, chosen, statuses)
