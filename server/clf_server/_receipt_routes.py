"""Routes of receipts: an enclave puts one, people get it (docs/protocol.md §10.1)."""

from __future__ import annotations

import structlog
from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool

from clf_sdk.protocol import Identifier
from clf_server._access import Principal, person
from clf_server._blobs import ticket_secret
from clf_server._receipts import Receipts
from clf_server._results import Results
from clf_server._routing import BINARY_BODY, BINARY_CONTENT, StrictRoute
from clf_server._state import ServerState

_LOG = structlog.get_logger("clf_server")


def receipt_router(state: ServerState, results: Results) -> APIRouter:
    """Return the routes to the receipts of runs."""
    receipts = Receipts(state, results)
    anyone_known = Depends(person(state, "owner", "analyst"))
    router = APIRouter(route_class=StrictRoute)

    @router.put(
        "/v1/results/{run}/receipt",
        status_code=204,
        tags=["enclave"],
        openapi_extra=BINARY_BODY,
    )
    async def put_receipt(run: Identifier, request: Request) -> None:
        """Check the receipt of a run whose outputs are here, and keep it."""
        data = await request.body()
        await run_in_threadpool(receipts.put, ticket_secret(request), run=run, data=data)
        _LOG.info("receipt_stored", run=run)

    @router.get(
        "/v1/results/{run}/receipt",
        tags=["owner", "analyst"],
        response_class=Response,
        responses={200: {"description": "The file", "content": BINARY_CONTENT}},
    )
    def get_receipt(run: Identifier, principal: Principal = anyone_known) -> Response:
        """Return the receipt of a run, byte for byte."""
        return Response(receipts.get(run, principal), media_type="application/octet-stream")

    return router
