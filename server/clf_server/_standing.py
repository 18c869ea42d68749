"""How a job and a run stand at this moment, in one statement: each session asks twice."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from clf_server._analysts import _analysts
from clf_server._job_store import StoredJob, StoredRun, _jobs, _runs
from clf_server._pause import _pause

_ALWAYS = sa.select(sa.literal(1).label("one")).subquery()
_STANDING = sa.select(
    sa.exists(sa.select(_pause.c.paused_at)),
    sa.exists().where(_analysts.c.id == _jobs.c.analyst),
    _jobs,
    _runs,
).select_from(
    _ALWAYS.outerjoin(_jobs, _jobs.c.digest == sa.bindparam("job")).outerjoin(
        _runs, _runs.c.run == sa.bindparam("run")
    )
)
_RUNS_START = 2 + len(_jobs.c)


@dataclass(frozen=True)
class Standing:
    """What the database says of a job and a run.

    Attributes
    ----------
    paused
        Whether the owner paused the server.
    analyst_known
        Whether the owner knows the job's analyst.
    job
        The job, if it was submitted here.
    run
        The run, if it was counted.
    """

    paused: bool
    analyst_known: bool
    job: StoredJob | None
    run: StoredRun | None


def find_standing(connection: sa.Connection, *, job: str, run: str) -> Standing:
    """Look a job and a run up, in a transaction that the caller has opened."""
    row = connection.execute(_STANDING, {"job": job, "run": run}).one()
    paused, analyst_known = row[:2]
    jobs, runs = row[2:_RUNS_START], row[_RUNS_START:]
    return Standing(
        paused=bool(paused),
        analyst_known=bool(analyst_known),
        job=None if jobs[0] is None else StoredJob(*jobs),
        run=None if runs[0] is None else StoredRun(*runs),
    )
