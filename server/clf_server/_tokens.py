"""Access tokens of people: random, stored as hashes, with a role and an expiry."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING

from clf_sdk.errors import TokenRefused
from clf_sdk.protocol import Role
from clf_server._metadata import Metadata, StoredToken

if TYPE_CHECKING:
    from collections.abc import Container


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def issue_token(metadata: Metadata, *, role: Role, label: str, expires_at: int) -> str:
    """Make a token, store its hash, and return the secret."""
    token = secrets.token_urlsafe(32)
    metadata.add_token(StoredToken(_hash(token), role, label, expires_at))
    return token


def check_token(
    metadata: Metadata, authorization: str | None, roles: Container[str], *, now: int
) -> StoredToken:
    """Return the token of an ``Authorization: Bearer`` header that may act in one of the roles.

    The token is looked up by its SHA-256, so comparison time tells nothing about stored tokens.

    Raises
    ------
    TokenRefused
        It is missing, unknown, expired, or has another role.
    """
    scheme, _, secret = (authorization or "").partition(" ")
    token = metadata.find_token(_hash(secret)) if scheme.lower() == "bearer" else None
    if token is None:
        raise TokenRefused(
            "the access token is missing or unknown",
            hint="use the profile file that the server's operator gave you",
        )
    if token.expires_at <= now:
        raise TokenRefused("the access token has expired", hint="ask the operator for a new one")
    if token.role not in roles:
        raise TokenRefused(f"an {token.role} token may not do this")
    return token
