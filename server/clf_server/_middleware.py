"""What surrounds every request: an id, a size limit, a deadline, one log line."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

import structlog

from clf_sdk.errors import ClfError, DeadlineExceeded, ServerError, TooLarge
from clf_server._problems import problem_response

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

MOST_JSON_BYTES = 8 << 20
_CHUNK_SECONDS = 60
_LOG = structlog.get_logger("clf_server")


def _limited(receive: Receive, most_bytes: int) -> Receive:
    """Wrap ``receive`` so that a body can neither grow nor dawdle without end."""
    left = most_bytes

    async def limited() -> Message:
        nonlocal left
        try:
            async with asyncio.timeout(_CHUNK_SECONDS):
                message = await receive()
        except TimeoutError as error:
            raise DeadlineExceeded("the request's body did not arrive in time") from error
        left -= len(message.get("body", b""))
        if left < 0:
            raise TooLarge("the request's body exceeds the limit for this route")
        return message

    return limited


class RequestGuard:
    """ASGI middleware around the control plane.

    Parameters
    ----------
    app
        The application.
    most_bytes
        Body limit by method and path; None means that the route itself limits size and time.
    observe
        Called after each request with its method, route, status and seconds.
    """

    def __init__(
        self,
        app: App,
        most_bytes: Callable[[str, str], int | None],
        observe: Callable[[str, str | None, int, float], None] | None = None,
    ) -> None:
        self._app = app
        self._observe = observe
        self._most_bytes = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        request_id = secrets.token_hex(8)
        scope["state"]["request_id"] = request_id
        structlog.contextvars.bind_contextvars(request_id=request_id)
        status = 0

        async def answering(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", request_id.encode()),
                ]
            await send(message)

        most = self._most_bytes(scope["method"], scope["path"])
        try:
            guarded = receive if most is None else _limited(receive, most)
            await self._app(scope, guarded, answering)
        except ClfError as error:
            await problem_response(error, request_id)(scope, receive, answering)
        except Exception:  # noqa: BLE001 - the last resort: logged in full, told as little
            _LOG.exception("request_failed")
            if status == 0:
                failure = ServerError(
                    "the server failed", hint="ask its operator, with the request id"
                )
                await problem_response(failure, request_id)(scope, receive, answering)
        finally:
            route = getattr(scope.get("route"), "path", None)
            if self._observe is not None:
                self._observe(scope["method"], route, status, time.monotonic() - started)
            _LOG.info(
                "request",
                method=scope["method"],
                route=route,
                status=status,
                token=getattr(scope["state"].get("principal"), "token", None),
                seconds=round(time.monotonic() - started, 4),
            )
            structlog.contextvars.clear_contextvars()
