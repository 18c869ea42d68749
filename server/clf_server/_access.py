"""Who may use a route: the token of a request is checked, and a refusal is logged."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import Request

from clf_sdk.errors import TokenRefused
from clf_sdk.protocol import Role
from clf_server._metadata import StoredToken
from clf_server._state import ServerState
from clf_server._tokens import check_token

_MOST_PATH_CHARACTERS = 200


def person(state: ServerState, *roles: Role) -> Callable[[Request], StoredToken]:
    """Return a dependency of routes: it admits tokens of some roles, and returns the token."""

    def check(request: Request) -> StoredToken:
        header = request.headers.get("authorization")
        try:
            return check_token(state.metadata, header, roles, now=state.now())
        except TokenRefused as error:
            refused = {"reason": error.message, "path": request.url.path[:_MOST_PATH_CHARACTERS]}
            client = request.client.host if request.client else None
            state.refusals.record("token.refused", refused, cause={"client": client})
            raise

    return check
