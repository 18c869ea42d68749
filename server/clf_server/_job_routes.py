"""Routes of jobs: analysts submit, the owner decides (docs/protocol.md §3.1, §3.2, §11)."""

from __future__ import annotations

from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Query

from clf_sdk.protocol import (
    JobApproval,
    JobList,
    JobRecord,
    JobRefusal,
    JobState,
    JobStatus,
    Name,
    Sha256,
    SignedJob,
)
from clf_server._access import Principal, person
from clf_server._jobs import Jobs
from clf_server._routing import StrictRoute
from clf_server._state import ServerState

_LOG = structlog.get_logger("clf_server")
_MOST_LISTED = 1000


def job_router(state: ServerState, jobs: Jobs) -> APIRouter:
    """Return the routes by which jobs are submitted and decided."""
    router = APIRouter(route_class=StrictRoute)
    owner = Depends(person(state, "owner"))
    analyst = Depends(person(state, "analyst"))
    anyone_known = Depends(person(state, "owner", "analyst"))

    def told(status: JobStatus) -> JobStatus:
        _LOG.info(f"job_{status.state}", job=status.job, name=status.name)
        return status

    @router.post("/v1/jobs", tags=["analyst"])
    def post_job(body: SignedJob, principal: Principal = analyst) -> JobStatus:
        """Submit a signed job."""
        return told(jobs.submit(body, principal))

    @router.get("/v1/jobs", tags=["owner", "analyst"])
    def get_jobs(
        principal: Principal = anyone_known,
        state: JobState | None = None,
        name: Name | None = None,
        limit: Annotated[int, Query(ge=1, le=_MOST_LISTED)] = 200,
    ) -> JobList:
        """List jobs, the latest first; an analyst sees its own."""
        return jobs.list(principal, state=state, name=name, limit=limit)

    @router.get("/v1/jobs/{digest}", tags=["owner", "analyst"])
    def get_job(digest: Sha256, principal: Principal = anyone_known) -> JobRecord:
        """Return a job as it was submitted."""
        return jobs.record(digest, principal)

    @router.post("/v1/jobs/{digest}/approval", tags=["owner"])
    def post_approval(digest: Sha256, body: JobApproval, principal: Principal = owner) -> JobStatus:
        """Let a job run so many times until a date."""
        return told(jobs.approve(digest, body, principal))

    @router.post("/v1/jobs/{digest}/refusal", tags=["owner"])
    def post_refusal(digest: Sha256, body: JobRefusal, principal: Principal = owner) -> JobStatus:
        """Refuse a job that waits."""
        return told(jobs.refuse(digest, body.reason, principal))

    @router.post("/v1/jobs/{digest}/revocation", tags=["owner"])
    def post_revocation(
        digest: Sha256, body: JobRefusal, principal: Principal = owner
    ) -> JobStatus:
        """Take the approval of a job back."""
        return told(jobs.revoke(digest, body.reason, principal))

    return router
