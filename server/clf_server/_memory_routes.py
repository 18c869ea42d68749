"""Routes of what a server remembers of released results (docs/protocol.md §8.4)."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response

from clf_sdk.protocol import (
    Identifier,
    MemoryAnswer,
    MemorySubmission,
    Name,
    ReleasedShapes,
    SignedMemoryList,
)
from clf_server._access import Principal, person
from clf_server._blobs import ticket_secret
from clf_server._memory import Memory
from clf_server._routing import BINARY_CONTENT, StrictRoute, json_response
from clf_server._state import ServerState


def memory_router(state: ServerState, memory: Memory) -> APIRouter:
    """Return the routes by which programs compare, and the owner looks."""
    router = APIRouter(route_class=StrictRoute)
    owner = Depends(person(state, "owner"))

    @router.get("/v1/memory/{run}/{name}", tags=["enclave"], response_model=SignedMemoryList)
    def list_memory(run: Identifier, name: Name, request: Request) -> Response:
        """Return what is remembered of the table of an input."""
        return json_response(memory.remembered(ticket_secret(request), run=run, name=name))

    @router.get(
        "/v1/memory/{run}/{name}/{number}",
        tags=["enclave"],
        response_class=Response,
        responses={200: {"description": "Sealed sets", "content": BINARY_CONTENT}},
    )
    def read_memory(run: Identifier, name: Name, number: int, request: Request) -> Response:
        """Return the sealed sets of a record."""
        sealed = memory.read(ticket_secret(request), run=run, name=name, number=number)
        return Response(sealed, media_type="application/octet-stream")

    @router.post("/v1/memory/{run}", tags=["enclave"], response_model=MemoryAnswer)
    def keep_memory(run: Identifier, body: MemorySubmission, request: Request) -> Response:
        """Decide on what a run is about to release, and remember it."""
        return json_response(memory.keep(ticket_secret(request), run=run, submission=body))

    @router.get("/v1/tables/{name}/releases", tags=["owner"], response_model=ReleasedShapes)
    def list_releases(name: Name, _: Principal = owner) -> Response:
        """Return what was released about a table, the latest first."""
        return json_response(memory.shapes(name))

    return router
