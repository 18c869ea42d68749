"""Routes of an enclave: challenge, session, results in (docs/protocol.md §8, §10)."""

from __future__ import annotations

import time

import structlog
from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from clf_sdk.errors import AttestationError, ClfError, NotReady
from clf_sdk.protocol import (
    Challenge,
    ChallengeRequest,
    Identifier,
    Name,
    ResultSubmission,
    SessionAnswer,
    SessionRequest,
)
from clf_server._blobs import ticket_secret
from clf_server._derived import DerivedVersions
from clf_server._direct import DirectRoute
from clf_server._policies import Policies
from clf_server._results import Results
from clf_server._routing import BINARY_BODY, ObjectName, StrictRoute, json_response
from clf_server._session_audit import describe_refused
from clf_server._sessions import challenge, challenge_at_once, open_session
from clf_server._state import ServerState
from clf_server._vault import Vault

_LOG = structlog.get_logger("clf_server")


def enclave_router(
    state: ServerState,
    vault: Vault,
    policies: Policies,
    derived: DerivedVersions,
    results: Results,
) -> APIRouter:
    """Return the routes that need no token, because the enclave proves itself."""
    router = APIRouter(route_class=StrictRoute, tags=["enclave"])

    async def post_challenge(body: ChallengeRequest | None = None) -> Response:
        """Give out a nonce (step 1)."""
        server = None if body is None else body.server
        made = challenge_at_once(state, server)
        if made is None:
            made = await run_in_threadpool(challenge, state, server)
        return json_response(made)

    def post_session(body: SessionRequest) -> Response:
        """Verify evidence, and answer with sealed keys and tickets (steps 5 to 9)."""
        log = _LOG.bind(job=body.job.digest, operation=body.job.operation.name)
        began = time.monotonic()
        try:
            opened = open_session(state, vault, policies, derived, body)
        except NotReady:
            state.metrics.session("not_ready", time.monotonic() - began)
            log.info("session_not_ready")
            raise
        except ClfError as error:
            state.metrics.session("refused", time.monotonic() - began, error.code)
            offered = "attestation" if isinstance(error, AttestationError) else "policy"
            reason = getattr(error, "reason", None) or error.message
            log.warning("session_refused", code=error.code, by=offered, reason=reason)
            details, cause = describe_refused(body, error)
            state.refusals.record("session.refused", details, cause=cause)
            raise
        state.metrics.session("granted", time.monotonic() - began)
        session = opened.answer.session
        log.info(
            "session_granted",
            session=session.session,
            run=session.run,
            mode=session.mode,
            mrenclave=opened.enclave.mrenclave,
            tcb_status=opened.enclave.tcb_status,
            tables=[entry.table for entry in session.inputs],
        )
        return json_response(opened.answer)

    for path, endpoint, answer in (
        ("/v1/challenges", post_challenge, Challenge),
        ("/v1/sessions", post_session, SessionAnswer),
    ):
        router.add_api_route(
            path,
            endpoint,
            methods=["POST"],
            response_model=answer,
            route_class_override=DirectRoute,
        )

    @router.get("/v1/sessions/{session}", status_code=204)
    def get_session(session: Identifier, request: Request) -> None:
        """Tell an enclave that computes whether its run may go on."""
        results.check_session(ticket_secret(request), session)

    @router.put(
        "/v1/results/{run}/{output}/{version_id}/{name}",
        status_code=204,
        openapi_extra=BINARY_BODY,
    )
    async def put_result_object(
        run: Identifier, output: Name, version_id: Identifier, name: ObjectName, request: Request
    ) -> None:
        """Store one object of a sealed output."""
        data = await request.body()
        await run_in_threadpool(
            results.put,
            ticket_secret(request),
            run=run,
            output=output,
            version_id=version_id,
            name=name,
            data=data,
        )
        state.metrics.received(len(data))

    @router.post("/v1/results/{run}/{output}", status_code=204)
    def post_result(
        run: Identifier, output: Name, body: ResultSubmission, request: Request
    ) -> None:
        """Check the envelope, and make the output visible."""
        results.finish(ticket_secret(request), run=run, output=output, submission=body)
        _LOG.info("result_stored", run=run, output=output, job=body.envelope.job)

    return router
