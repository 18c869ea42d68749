"""Access tokens of people: random, stored as hashes, with a role, a label and an expiry.

Whoever can write to the database could add a token of his own, or make an analyst's an owner's. So
the server's identity signs each (docs/protocol.md §11.5).
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from clf_sdk.errors import NotFound, SignatureInvalid
from clf_sdk.keys import SigningKey, verify_signature
from clf_sdk.protocol import Role
from clf_server._database import SCHEMA
from clf_server._metadata import Metadata

_ID_BYTES = 6
_SECRET_BYTES = 32

_tokens = sa.Table(
    "tokens",
    SCHEMA,
    sa.Column("id", sa.String(2 * _ID_BYTES), primary_key=True),
    sa.Column("token_hash", sa.String(64), nullable=False, unique=True),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("label", sa.String(64), nullable=False),
    sa.Column("analyst", sa.String(64), nullable=True, index=True),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sa.Column("revoked_at", sa.BigInteger, nullable=True),
    sa.Column("signature", sa.Text, nullable=True),  # by the identity; none once it is revoked
)
_SIGNATURE = "token"


@dataclass(frozen=True)
class StoredToken:
    """An access token, known by the hash of its secret.

    Attributes
    ----------
    id
        Names it in lists and in the log: 12 hex digits that say nothing about the secret.
    token_hash
        SHA-256 of the secret, in hex.
    role
        What it may do.
    label
        What the operator calls it.
    analyst
        Identity id of the analyst to whom it belongs; None for an owner's.
    created_at, expires_at, revoked_at
        Unix seconds; ``revoked_at`` is None while it is not revoked.
    signature
        The server's, in Base64; None once it is revoked.
    """

    id: str
    token_hash: str
    role: Role
    label: str
    analyst: str | None
    created_at: int
    expires_at: int
    revoked_at: int | None
    signature: str | None = None

    def signed(self, identity: SigningKey) -> StoredToken:
        """Return the token with the signature of the server's identity."""
        signature = identity.sign(_SIGNATURE, _document(self))
        return replace(self, signature=base64.b64encode(signature).decode())


@lru_cache(maxsize=4096)
def is_signed(token: StoredToken, public_key: bytes) -> bool:
    """Tell whether an identity has signed a token as it is stored now."""
    try:
        signature = base64.b64decode(token.signature or "", validate=True)
        verify_signature(public_key, _SIGNATURE, _document(token), signature)
    except (SignatureInvalid, ValueError):
        return False
    return True


def _document(token: StoredToken) -> dict[str, Any]:
    kept = {name: value for name, value in vars(token).items() if name not in _NOT_SIGNED}
    return {"clf": 1, "type": "token", **kept}


_NOT_SIGNED = {"revoked_at", "signature"}


class Tokens:
    """The tokens of one server."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata

    def any(self, connection: sa.Connection) -> bool:
        """Tell whether a token was ever issued."""
        return connection.execute(sa.select(_tokens.c.id).limit(1)).first() is not None

    def issue(
        self,
        connection: sa.Connection,
        identity: SigningKey,
        *,
        role: Role,
        label: str,
        analyst: str | None,
        created_at: int,
        expires_at: int,
    ) -> tuple[str, StoredToken]:
        """Make a token, sign it, store its hash, and return its secret and what was stored."""
        if (role == "analyst") is (analyst is None):
            raise ValueError("a token belongs to an analyst exactly when its role is analyst")
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        token = StoredToken(
            id=secrets.token_hex(_ID_BYTES),
            token_hash=_hash(secret),
            role=role,
            label=label,
            analyst=analyst,
            created_at=created_at,
            expires_at=expires_at,
            revoked_at=None,
        ).signed(identity)
        connection.execute(sa.insert(_tokens).values(**vars(token)))
        return secret, token

    def find(self, secret: str) -> StoredToken | None:
        """Return the token of a secret, or None.

        It is looked up by the secret's SHA-256, so the time this takes tells nothing about the
        secrets of stored tokens.
        """
        query = sa.select(_tokens).where(_tokens.c.token_hash == _hash(secret))
        with self._metadata.reading() as connection:
            row = connection.execute(query).first()
        return StoredToken(*row) if row else None

    def get(self, token_id: str) -> StoredToken | None:
        """Return the token of an id, or None."""
        with self._metadata.reading() as connection:
            row = connection.execute(sa.select(_tokens).where(_tokens.c.id == token_id)).first()
        return StoredToken(*row) if row else None

    def revoke(self, connection: sa.Connection, token_id: str, *, at: int) -> StoredToken | None:
        """Revoke a token and return it; None when it was revoked before.

        Raises
        ------
        NotFound
            There is none of that id.
        """
        if revoked := _revoke(connection, _tokens.c.id == token_id, at=at):
            return revoked[0]
        query = sa.select(_tokens.c.id).where(_tokens.c.id == token_id)
        if connection.execute(query).first() is None:
            raise NotFound(
                f"this server has no token {token_id[:64]!r}",
                hint="`clf server token list` shows the ids",
            )
        return None

    def revoke_those_of(
        self, connection: sa.Connection, analyst: str, *, at: int
    ) -> list[StoredToken]:
        """Revoke all tokens of an analyst, and return those that were not revoked before."""
        return _revoke(connection, _tokens.c.analyst == analyst, at=at)

    def sign_anew(
        self, connection: sa.Connection, identity: SigningKey, *, before: bytes | None
    ) -> int:
        """Sign what another identity has signed, and return how many tokens that are.

        Parameters
        ----------
        connection
            Open transaction.
        identity
            Signs from now on.
        before
            Public key of the identity before, whose signature must hold; None to sign all that have
            no signature, of a database from before there were any.
        """
        live = sa.select(_tokens).where(_tokens.c.revoked_at.is_(None))
        count = 0
        for row in connection.execute(live).all():
            token = StoredToken(*row)
            if token.signature is None if before is None else is_signed(token, before):
                signature = token.signed(identity).signature
                changed = sa.update(_tokens).where(_tokens.c.id == token.id)
                connection.execute(changed.values(signature=signature))
                count += 1
        return count

    def list(self) -> list[StoredToken]:
        """Return all tokens, the oldest first."""
        query = sa.select(_tokens).order_by(_tokens.c.created_at, _tokens.c.id)
        with self._metadata.reading() as connection:
            return [StoredToken(*row) for row in connection.execute(query)]


def _revoke(
    connection: sa.Connection, condition: sa.ColumnElement[bool], *, at: int
) -> list[StoredToken]:
    query = (
        sa.update(_tokens)
        .where(condition, _tokens.c.revoked_at.is_(None))
        .values(revoked_at=at, signature=None)
        .returning(*_tokens.c)
    )
    return [StoredToken(*row) for row in connection.execute(query)]


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
