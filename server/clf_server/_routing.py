"""A route that parses JSON strictly: no repeated keys, no NaN."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Path, Request, Response
from fastapi.routing import APIRoute

from clf_sdk.protocol import Document, parse_json

_BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
BINARY_CONTENT: dict[str, Any] = {"application/octet-stream": _BINARY}
BINARY_BODY: dict[str, Any] = {"requestBody": {"required": True, "content": BINARY_CONTENT}}
JSON_LINES_CONTENT: dict[str, Any] = {"application/jsonl": {"schema": {"type": "string"}}}
ObjectName = Annotated[str, Path(pattern=r"^(?:manifest|document|0|[1-9][0-9]{0,8})$")]
"""Path parameter: an object of a sealed table."""


class _StrictRequest(Request):
    async def json(self) -> Any:
        """Parse the body once, strictly."""
        if not hasattr(self, "_json"):
            self._json = parse_json(await self.body(), what="request's body")
        return self._json


class StrictRoute(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Hand a strict request to the route."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await handler(_StrictRequest(request.scope, request.receive))

        return handle


def json_response(document: Document) -> Response:
    """Answer with a document as it is: it was validated when it was made."""
    return Response(document.model_dump_json(), media_type="application/json")
