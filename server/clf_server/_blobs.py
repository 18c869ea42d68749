"""The data plane: ciphertext in and out, for holders of a ticket (docs/protocol.md §9, §11.1)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from io import FileIO
from typing import Any

import pyarrow as pa
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from clf_sdk.errors import (
    AccessDenied,
    ClfError,
    Malformed,
    NotFound,
    ServerError,
    TicketRefused,
    TransportError,
)
from clf_server._intake import INTAKE
from clf_server._middleware import Receive, Scope, Send
from clf_server._problems import problem_response
from clf_server._sendfile import EXTENSION
from clf_server._state import ServerState
from clf_server._ticket_audit import log_refused_blob
from clf_server._uploads import Uploads
from clf_server._vault import DOCUMENT_NAME, MANIFEST_NAME

_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{1,18})", re.ASCII)
_VERSION = re.compile(r"[0-9a-f]{32}", re.ASCII)
_NUMBER = re.compile(r"0|[1-9]\d{0,8}", re.ASCII)
_CHUNK_BYTES = 1 << 20


def _is_object(name: str) -> bool:
    return name in (MANIFEST_NAME, DOCUMENT_NAME) or _NUMBER.fullmatch(name) is not None


class BlobResponse(Response):
    """Bytes of one object; from the page cache without a copy, where the listener can do that."""

    def __init__(
        self,
        file: FileIO | pa.NativeFile,
        size: int,
        start: int,
        stop: int,
        *,
        partial: bool,
        sent: Callable[[int], None],
    ) -> None:
        headers = {"accept-ranges": "bytes", "content-length": str(stop - start)}
        if partial:
            headers["content-range"] = f"bytes {start}-{stop - 1}/{size}"
        super().__init__(None, 206 if partial else 200, media_type="application/octet-stream")
        self.headers.update(headers)
        self._file, self._start, self._stop = file, start, stop
        self._sent = sent

    async def __call__(
        self,
        scope: Scope,
        receive: Receive,  # noqa: ARG002 - the signature is ASGI's
        send: Send,
    ) -> None:
        """Send the range."""
        with self._file as file:
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            left = self._stop - self._start
            if EXTENSION in scope.get("extensions", {}) and isinstance(file, FileIO):
                await send({"type": EXTENSION, "file": file, "offset": self._start, "count": left})
                self._sent(left)
                return
            file.seek(self._start)
            while left:
                piece = await run_in_threadpool(file.read, min(_CHUNK_BYTES, left))
                if not piece:
                    raise ServerError("an object is shorter than it was")
                left -= len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                self._sent(len(piece))
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def object_response(
    state: ServerState, version_id: str, name: str, range_header: str | None
) -> Response:
    """Answer with an object, or one range of it.

    Raises
    ------
    NotFound
        There is no such object.
    Malformed
        The range is not one that lies in the object.
    """
    if not _VERSION.fullmatch(version_id) or not _is_object(name):
        raise NotFound("there is no such object")
    file, sent = state.objects.open_local(version_id, name), state.metrics.sent
    if file is None:
        file = state.objects.open(version_id, name)
        size = file.size()
    else:
        size = os.fstat(file.fileno()).st_size
    if range_header is None:
        return BlobResponse(file, size, 0, size, partial=False, sent=sent)
    found = _RANGE.fullmatch(range_header)
    if found is None or not int(found[1]) <= int(found[2]) < size:
        file.close()
        raise Malformed(
            "the range is not a single one that lies in the object", hint="use bytes=first-last"
        )
    start, stop = int(found[1]), int(found[2]) + 1
    return BlobResponse(file, size, start, stop, partial=True, sent=sent)


def ticket_secret(request: Request) -> str:
    """Secret of the ``Authorization: CLF-Ticket`` header.

    Raises
    ------
    TicketRefused
        There is none.
    """
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "clf-ticket" or not secret:
        raise TicketRefused("the request carries no ticket", hint="open a session first")
    return secret


class BlobEndpoint:
    """``GET /v1/blobs/{version_id}/{name}`` for holders of a blob ticket."""

    def __init__(self, state: ServerState) -> None:
        self._state = state

    async def get(self, request: Request) -> Response:
        """Check the ticket and answer with ciphertext."""
        version_id: str = request.path_params["version_id"]
        try:
            secret = ticket_secret(request)
            if self._state.metadata.shared:
                ticket = await run_in_threadpool(self._state.tickets.check, secret)
            else:
                ticket = self._state.tickets.check(secret)
            if not ticket.opens(version_id):
                raise TicketRefused("the ticket does not open this version")
            if not self._state.grants.fresh(ticket):
                await run_in_threadpool(self._state.grants.check, ticket)
            name, wanted = request.path_params["name"], request.headers.get("range")
            if self._state.objects.remote:
                return await run_in_threadpool(
                    object_response, self._state, version_id, name, wanted
                )
            return object_response(self._state, version_id, name, wanted)
        except AccessDenied as error:
            await run_in_threadpool(log_refused_blob, self._state, error, version_id=version_id)
            return problem_response(error, _request_id(request))
        except ClfError as error:
            return problem_response(error, _request_id(request))


class UploadEndpoint:
    """``PUT /v1/uploads/{upload}/{name}`` for holders of the upload's ticket."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads

    async def put(self, request: Request) -> Response:
        """Store one sealed object."""
        name: str = request.path_params["name"]
        try:
            if not _is_object(name):
                raise NotFound("there is no such object")
            await self._uploads.receive(
                request.path_params["upload"],
                name,
                ticket=ticket_secret(request),
                body=request.scope.get("extensions", {}).get(INTAKE) or request.stream(),
            )
        except ClfError as error:
            return problem_response(error, _request_id(request))
        except ClientDisconnect:
            gone = TransportError("the sender went away in the middle of an object")
            return problem_response(gone, _request_id(request))
        return Response(status_code=204)


def _request_id(request: Request) -> str:
    state: dict[str, Any] = request.scope.get("state", {})
    return str(state.get("request_id", "-"))
