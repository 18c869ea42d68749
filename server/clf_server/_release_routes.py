"""Routes of reviewed results: what an owner releases, and what recipients get then."""

from __future__ import annotations

import structlog
from fastapi import APIRouter, Depends

from clf_sdk.protocol import (
    HeldResult,
    Identifier,
    Name,
    ReleaseDecision,
    ReleaseList,
    ReleaseShare,
    RunList,
    Sha256,
)
from clf_server._access import Principal, person
from clf_server._releases import Releases
from clf_server._results import Results
from clf_server._routing import StrictRoute
from clf_server._state import ServerState

_LOG = structlog.get_logger("clf_server")


def release_router(state: ServerState, results: Results) -> APIRouter:
    """Return the routes of runs that left results, and of their release."""
    router = APIRouter(route_class=StrictRoute)
    releases = Releases(state, results)
    owner = Depends(person(state, "owner"))
    anyone_known = Depends(person(state, "owner", "analyst"))

    @router.get("/v1/results", tags=["owner", "analyst"])
    def get_runs(job: Sha256, principal: Principal = anyone_known) -> RunList:
        """List the runs of a job that left results, the newest first."""
        return results.runs(job, principal)

    @router.get("/v1/results/{run}/{output}/share", tags=["owner", "analyst"])
    def get_share(
        run: Identifier, output: Name, principal: Principal = anyone_known
    ) -> ReleaseShare:
        """Return this owner's share of an output's key, once it is released."""
        return releases.share(run, output, principal)

    @router.get("/v1/releases", tags=["owner"], dependencies=[owner])
    def get_releases() -> ReleaseList:
        """List the outputs that wait for this owner's release, and those it decided on."""
        return ReleaseList(releases=releases.list())

    @router.post("/v1/results/{run}/{output}/release", tags=["owner"])
    def post_release(
        run: Identifier, output: Name, body: ReleaseDecision, principal: Principal = owner
    ) -> HeldResult:
        """Release an output, or refuse it for good."""
        held = releases.decide(run, output, body, principal)
        _LOG.info("release_decided", run=run, output=output, release=held.release)
        return held

    return router
