"""The identities of a server: the present one and, for a time, the one before (§2.2)."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa

from clf_sdk.errors import ConfigurationError
from clf_sdk.keys import SigningKey, server_id
from clf_sdk.protocol import SignedSuccession
from clf_server._database import SCHEMA
from clf_server._metadata import Metadata

FIRST_FILE = "identity.key"
State = Literal["made", "current", "retiring", "retired"]

_identities = sa.Table(
    "server_identities",
    SCHEMA,
    sa.Column("server", sa.String(64), primary_key=True),
    sa.Column("file", sa.String(64), nullable=False),  # empty when it was destroyed
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("succession", sa.JSON(none_as_null=True)),  # by which it ends
    sa.Column("ends_at", sa.BigInteger),
)


@dataclass(frozen=True)
class StoredIdentity:
    """An identity as the database knows it; a row is there from the first succession on."""

    server: str
    file: str
    state: State
    succession: dict[str, Any] | None = None
    ends_at: int | None = None


class Identities:
    """Finds the identity keys of a server; which one is the present one, the database says.

    Parameters
    ----------
    metadata
        The database.
    directory
        The server's, in which the keys lie.
    """

    def __init__(self, metadata: Metadata, directory: Path) -> None:
        self.metadata = metadata
        self._directory = directory
        self._loaded: dict[str, SigningKey] = {}
        self._lately: tuple[int, dict[str, SigningKey]] = (0, {})
        self._lock = threading.Lock()

    def path(self, stored: StoredIdentity) -> Path:
        """File of an identity's key."""
        return self._directory / stored.file

    def _load(self, file: str) -> SigningKey:
        with self._lock:
            if file not in self._loaded:
                self._loaded[file] = load_identity_key(self._directory / file)
            return self._loaded[file]

    def all(self, connection: sa.Connection) -> list[StoredIdentity]:
        """Return all identities that the server has or had; the present one, if it has one only.

        Raises
        ------
        ConfigurationError
            The present one's key is missing or damaged.
        """
        rows = [StoredIdentity(*row) for row in connection.execute(sa.select(_identities))]
        if rows:
            return rows
        first = server_id(self._load(FIRST_FILE).public_bytes)
        return [StoredIdentity(first, FIRST_FILE, "current")]

    def present(self, connection: sa.Connection) -> SigningKey:
        """Return the key that signs checkpoints and is shown to new clients."""
        (found,) = (each for each in self.all(connection) if each.state == "current")
        return self._load(found.file)

    def current(self) -> SigningKey:
        """Return the present key, outside of a transaction."""
        with self.metadata.reading() as connection:
            return self.present(connection)

    def offered(
        self, *, now: int, connection: sa.Connection | None = None
    ) -> dict[str, SigningKey]:
        """Return the keys of all identities under which sessions may be opened, by server id."""
        within = self.metadata.reading() if connection is None else nullcontext(connection)
        with within as opened:
            stored = self.all(opened)
        found = {each.server: self._load(each.file) for each in stored if _is_offered(each, now)}
        self._lately = (now, found)
        return found

    def offered_lately(self, server: str | None, *, now: int) -> SigningKey | None:
        """Return a key that was offered in the same second; for what is checked again later."""
        second, found = self._lately
        return found.get(server or "") if second == now else None

    def known(self) -> frozenset[str]:
        """Return the server ids of all identities that this server has or had."""
        with self.metadata.reading() as connection:
            return frozenset(each.server for each in self.all(connection))

    def succession(self, *, now: int) -> SignedSuccession | None:
        """Return how the identity before names the present one, while both are offered."""
        with self.metadata.reading() as connection:
            stored = self.all(connection)
        for each in stored:
            if each.state == "retiring" and _is_offered(each, now) and each.succession:
                return SignedSuccession.parse(each.succession)
        return None

    # -- changes -------------------------------------------------------------------------------

    def add(self, connection: sa.Connection, stored: StoredIdentity) -> None:
        """Note an identity; the first time also the present one, which had no row."""
        if connection.execute(sa.select(_identities.c.server)).first() is None:
            for each in self.all(connection):
                connection.execute(sa.insert(_identities).values(**vars(each)))
        connection.execute(sa.insert(_identities).values(**vars(stored)))

    def succeed(self, connection: sa.Connection, signed: SignedSuccession) -> None:
        """Make the successor the present identity, and let the one before end by its date."""
        succession = signed.succession
        self._set(
            connection,
            succession.server,
            state="retiring",
            succession=signed.to_json(),
            ends_at=succession.ends_at,
        )
        self._set(connection, succession.successor, state="current")

    def retire(self, connection: sa.Connection, server: str) -> bool:
        """End an identity for good; tell whether it had not ended yet."""
        ended = connection.execute(
            sa.update(_identities)
            .where(_identities.c.server == server, _identities.c.state == "retiring")
            .values(state="retired")
        )
        return ended.rowcount == 1

    def forget_key(self, connection: sa.Connection, stored: StoredIdentity) -> None:
        """Note that the key of an identity was destroyed; one that was never used is forgotten."""
        with self._lock:
            self._loaded.pop(stored.file, None)
            self._lately = (0, {})
        if stored.state == "made":
            connection.execute(sa.delete(_identities).where(_identities.c.server == stored.server))
        else:
            self._set(connection, stored.server, file="")

    def _set(self, connection: sa.Connection, server: str, **values: Any) -> None:
        connection.execute(
            sa.update(_identities).where(_identities.c.server == server).values(values)
        )


def _is_offered(stored: StoredIdentity, now: int) -> bool:
    if stored.state == "retiring":
        return stored.ends_at is not None and now < stored.ends_at
    return stored.state == "current"


def load_identity_key(path: Path) -> SigningKey:
    """Load an Ed25519 key that makes a server this one.

    Raises
    ------
    ConfigurationError
        It is missing or damaged.
    """
    try:
        return SigningKey(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"the identity key {path} is missing or damaged",
            hint="restore it from backup; a new one makes this another server for every job",
        ) from error
