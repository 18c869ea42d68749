"""``submit()``: sign a job and send it to every owner whose table it names."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clf_sdk._connection import Connection, connections_to
from clf_sdk._identity import Identity
from clf_sdk._job import Job
from clf_sdk.errors import ConfigurationError, JobAltered
from clf_sdk.protocol import JOB_SIGNATURE, JobRecord, JobStatus, canonical_json

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = ["owner", "state", "runs", "runs_used", "until", "reason"]


@dataclass(frozen=True, repr=False)
class Submission:
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
        table: str = self.to_pandas().to_html(index=False, escape=True)
        return table

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
    by_server = {connection.server: connection for connection in given}
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
