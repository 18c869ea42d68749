"""Routes that are answered without FastAPI's machinery, which costs more than a quote's check.

They stay routes of the application: what they take and give is described with all others.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from types import NoneType
from typing import Any, get_args, get_type_hints

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.routing import BaseRoute

from clf_sdk.protocol import Document, parse_json
from clf_server._middleware import App, Receive, Scope, Send
from clf_server._routing import StrictRoute


class DirectRoute(StrictRoute):
    """A route whose path is fixed, and whose function takes nothing or a document as ``body``.

    A body that may be None may be empty.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        hint = get_type_hints(self.endpoint).get("body")
        kinds = [kind for kind in get_args(hint) or (hint,) if kind not in (None, NoneType)]
        self._body: type[Document] | None = kinds[0] if kinds else None
        self._may_be_empty = NoneType in get_args(hint)

    async def answer(self, request: Request) -> Response:
        """Parse the body, and call the function: in a thread, unless it is asynchronous."""
        arguments = []
        if self._body is not None:
            data = await request.body()
            if data or not self._may_be_empty:
                arguments.append(self._body.parse(parse_json(data, what="request's body")))
        if inspect.iscoroutinefunction(self.endpoint):
            response: Response = await self.endpoint(*arguments)
        else:
            response = await run_in_threadpool(self.endpoint, *arguments)
        return response


class DirectRoutes:
    """ASGI middleware that answers requests to direct routes, and hands all others on.

    Parameters
    ----------
    app
        The application.
    routes
        All routes; those that are not direct are passed over.
    """

    def __init__(self, app: App, routes: Iterable[BaseRoute]) -> None:
        self._app = app
        self._routes: Mapping[tuple[str, str], DirectRoute] = {
            (method, route.path): route
            for route in routes
            if isinstance(route, DirectRoute)
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = None
        if scope["type"] == "http":
            route = self._routes.get((scope["method"], scope["path"]))
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        response = await route.answer(Request(scope, receive))
        await response(scope, receive, send)
