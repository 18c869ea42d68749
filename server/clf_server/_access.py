"""Who may use a route: the token of a request is checked, and a refusal is logged."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass

from starlette.requests import Request

from clf_sdk.errors import AccessDenied, TokenRefused
from clf_sdk.protocol import Role
from clf_server._state import ServerState
from clf_server._tokens import StoredToken, is_signed

_MOST_PATH_CHARACTERS = 200


@dataclass(frozen=True)
class Principal:
    """Whom the token of a request belongs to.

    Attributes
    ----------
    role
        What it may do.
    label
        What the operator calls the token.
    token
        Id of the token.
    analyst
        Identity id of the analyst; None for an owner.
    """

    role: Role
    label: str
    token: str
    analyst: str | None


def person(state: ServerState, *roles: Role) -> Callable[[Request], Principal]:
    """Return a dependency of routes that admits tokens of some roles (docs/protocol.md §11.5).

    It returns the principal, and leaves it in ``request.state.principal``.
    """

    def check(request: Request) -> Principal:
        client = request.client.host if request.client else ""
        token: StoredToken | None = None
        try:
            # Step 1: the address has attempts left.
            state.attempts.check(client)
            # Step 2: the token is known, and the server has signed it.
            token = _find(state, request.headers.get("authorization"), client)
            _check_signed(state, token)
            principal = admit(token, roles, now=state.now())
        except AccessDenied as error:
            refused = {
                "code": error.code,
                "reason": error.message,
                "path": request.url.path[:_MOST_PATH_CHARACTERS],
                "token": token.id if token else None,
            }
            state.refusals.record("token.refused", refused, cause={"client": client})
            raise
        request.state.principal = principal
        return principal

    return check


def _find(state: ServerState, authorization: str | None, client: str) -> StoredToken:
    scheme, _, secret = (authorization or "").partition(" ")
    if scheme.lower() != "bearer":
        raise TokenRefused(
            "the request has no access token",
            hint="use the profile file that the server's operator gave you",
        )
    token = state.tokens.find(secret)
    if token is None:
        state.attempts.failed(client)
        raise TokenRefused(
            "the access token is unknown",
            hint="use the profile file that the server's operator gave you",
        )
    return token


def _check_signed(state: ServerState, token: StoredToken) -> None:
    """Check that the operator's command has issued the token, and nobody changed it since."""
    for _ in range(2):  # a new identity may have signed it anew between the two looks
        if token.revoked_at is not None or is_signed(token, state.identity.public_bytes):
            return
        token = state.tokens.get(token.id) or token
    raise TokenRefused(
        "the access token is not one that this server has issued",
        hint="somebody wrote to the server's database; its operator must find out who",
    )


def admit(token: StoredToken, roles: Container[Role], *, now: int) -> Principal:
    """Return the principal of a token that may act in one of the roles now.

    Raises
    ------
    TokenRefused
        It is revoked, has expired, or has another role.
    """
    # Step 3: it is not revoked.
    if token.revoked_at is not None:
        raise TokenRefused("the access token was revoked", hint="ask the server's operator")
    # Step 4: it has not expired.
    if token.expires_at <= now:
        raise TokenRefused("the access token has expired", hint="ask the operator for a new one")
    # Step 5: its role may use the route.
    if token.role not in roles:
        raise TokenRefused(f"an {token.role} token may not do this")
    return Principal(token.role, token.label, token.id, token.analyst)
