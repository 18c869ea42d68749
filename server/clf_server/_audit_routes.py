"""Routes of the owner to the audit log (docs/protocol.md §14.4)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from clf_sdk.protocol import MerkleProof, SignedCheckpoint
from clf_server._access import person
from clf_server._routing import JSON_LINES_CONTENT, StrictRoute
from clf_server._state import ServerState

_MOST_ENTRIES = 1000
_Number = Annotated[int, Query(ge=0, lt=1 << 53)]


def audit_router(state: ServerState) -> APIRouter:
    """Return the routes to the log, its checkpoint and its proofs."""
    owner = Depends(person(state, "owner"))
    router = APIRouter(route_class=StrictRoute, tags=["owner"], dependencies=[owner])

    @router.get("/v1/audit/checkpoint")
    def get_checkpoint() -> SignedCheckpoint:
        """Return the signed state of the log."""
        state.refusals.flush()
        return SignedCheckpoint(
            checkpoint=state.audit.checkpoint().note, public_key=state.identity.public_bytes
        )

    @router.get(
        "/v1/audit/entries",
        response_class=Response,
        responses={200: {"description": "Entries", "content": JSON_LINES_CONTENT}},
    )
    def get_entries(
        start: _Number = 0, limit: Annotated[int, Query(ge=1, le=_MOST_ENTRIES)] = _MOST_ENTRIES
    ) -> Response:
        """Return entries in canonical form, one a line."""
        lines = b"".join(entry + b"\n" for entry in state.audit.entries(start, limit))
        return Response(lines, media_type="application/jsonl")

    @router.get("/v1/audit/inclusion")
    def get_inclusion(index: _Number, size: _Number) -> MerkleProof:
        """Prove that an entry is among the first ``size`` ones."""
        return MerkleProof(hashes=state.audit.prove_inclusion(index, size))

    @router.get("/v1/audit/consistency")
    def get_consistency(first: _Number, second: _Number) -> MerkleProof:
        """Prove that the first ``second`` entries begin with the first ``first`` ones."""
        return MerkleProof(hashes=state.audit.prove_consistency(first, second))

    return router
