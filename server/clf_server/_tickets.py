"""Tickets: what an attested session may pull and put for the next minutes."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import sqlalchemy as sa

from clf_sdk.errors import TicketRefused
from clf_sdk.protocol import Differencing, Mode
from clf_server._database import SCHEMA, Database

LIFETIME_SECONDS = 600

_tickets = sa.Table(
    "tickets",
    SCHEMA,
    sa.Column("key", sa.String(64), primary_key=True),  # hash of the secret
    sa.Column("dies_at", sa.Double, nullable=False, index=True),
    sa.Column("ticket", sa.JSON, nullable=False),
)
_ticket_versions = sa.Table(
    "ticket_versions",
    SCHEMA,
    sa.Column(
        "key", sa.String(64), sa.ForeignKey("tickets.key", ondelete="CASCADE"), primary_key=True
    ),
    sa.Column("version_id", sa.String(32), primary_key=True, index=True),
)


@dataclass(frozen=True)
class Remembered:
    """An input of whose people the server remembers what results spoke of (§8.4).

    Attributes
    ----------
    input, table
        Names.
    basis
        Digest that names the version and row filter.
    entity
        Column by which people are counted; None: rows.
    rows
        The row filter.
    """

    input: str
    table: str
    basis: str
    entity: str | None
    rows: str | None


@dataclass(frozen=True)
class Ticket:
    """What a ticket opens.

    Attributes
    ----------
    versions
        Version ids that the session granted; the ticket dies with any of them.
    run, job, mode
        Which run, for which job, proved how.
    enclave
        Signing key that the enclave's quote binds.
    session
        Id of the session.
    takes_results
        Whether results may be put with it; then it opens no blob.
    review
        Whether the owner must release the results.
    output_rows, output_bytes
        Most rows and bytes of an output; None is no limit.
    server
        Server id that the job pins.
    differencing
        What becomes of results that are too close to earlier ones.
    must_remember
        Whether nothing is stored before the program has compared.
    remembered
        The inputs that it compares.
    """

    versions: frozenset[str]
    run: str
    job: str
    mode: Mode
    enclave: bytes
    session: str
    takes_results: bool
    review: bool
    output_rows: int | None = None
    output_bytes: int | None = None
    server: str = ""
    differencing: Differencing = "off"
    must_remember: bool = False
    remembered: tuple[Remembered, ...] = ()

    def opens(self, version_id: str) -> bool:
        """Tell whether the blobs of a version may be pulled with it."""
        return not self.takes_results and version_id in self.versions

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self) | {"versions": sorted(self.versions), "enclave": self.enclave.hex()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Ticket:
        """Read what `to_json` returned."""
        enclave = bytes.fromhex(values["enclave"])
        read = {
            "versions": frozenset(values["versions"]),
            "enclave": enclave,
            "remembered": tuple(Remembered(**each) for each in values.get("remembered", ())),
        }
        return cls(**values | read)


class Tickets(Protocol):
    """Tickets that were given out, by the hash of their secret."""

    def issue(self, ticket: Ticket) -> str:
        """Give out the secret of a new ticket."""

    def revoke(self, versions: Iterable[str]) -> None:
        """Kill every ticket that opens one of some versions."""

    def opening(self, versions: Iterable[str]) -> set[str]:
        """Return those of some versions that a ticket opens."""

    def check(self, secret: str) -> Ticket:
        """Return what a ticket opens.

        Raises
        ------
        TicketRefused
            It is unknown or too old.
        """


class TicketStore:
    """Tickets of a server that is one process: in memory, they end with it."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._tickets: dict[bytes, tuple[float, Ticket]] = {}
        self._lock = threading.Lock()

    def issue(self, ticket: Ticket) -> str:
        """Give out the secret of a new ticket."""
        secret = secrets.token_urlsafe(32)
        now = self._monotonic()
        with self._lock:
            # Insertion order is order of death, since all live equally long.
            for key, (dies, _) in list(self._tickets.items()):
                if dies > now:
                    break
                del self._tickets[key]
            self._tickets[_key(secret)] = (now + LIFETIME_SECONDS, ticket)
        return secret

    def revoke(self, versions: Iterable[str]) -> None:
        """Kill every ticket that stands on one of some versions."""
        gone = frozenset(versions)
        with self._lock:
            for key, (_, ticket) in list(self._tickets.items()):
                if ticket.versions & gone:
                    del self._tickets[key]

    def opening(self, versions: Iterable[str]) -> set[str]:
        """Return those of some versions that a ticket opens."""
        asked, now = frozenset(versions), self._monotonic()
        with self._lock:
            opened = [ticket.versions for dies, ticket in self._tickets.values() if dies > now]
        return {version for versions in opened for version in versions if version in asked}

    def check(self, secret: str) -> Ticket:
        """Return what a ticket opens."""
        with self._lock:
            dies, ticket = self._tickets.get(_key(secret), (0.0, None))
        if ticket is None or dies <= self._monotonic():
            raise _refused()
        return ticket


class SharedTickets:
    """Tickets that any replica gives out and all honour.

    Parameters
    ----------
    database
        The one that the replicas share.
    clock
        Wall clock, in Unix seconds.
    """

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def issue(self, ticket: Ticket) -> str:
        """Give out the secret of a new ticket."""
        secret = secrets.token_urlsafe(32)
        key, now = _key(secret).hex(), self._clock()
        # Another replica may delete the same rows just now: what it has locked is its business.
        dead = (
            sa.select(_tickets.c.key)
            .where(_tickets.c.dies_at <= now)
            .with_for_update(skip_locked=True)
        )
        with self._database.touching() as connection:
            connection.execute(sa.delete(_tickets).where(_tickets.c.key.in_(dead)))
            connection.execute(
                sa.insert(_tickets).values(
                    key=key, dies_at=now + LIFETIME_SECONDS, ticket=ticket.to_json()
                )
            )
            if ticket.versions:
                opened = [{"key": key, "version_id": each} for each in sorted(ticket.versions)]
                connection.execute(sa.insert(_ticket_versions), opened)
        return secret

    def revoke(self, versions: Iterable[str]) -> None:
        """Kill every ticket that opens one of some versions."""
        opening = sa.select(_ticket_versions.c.key).where(
            _ticket_versions.c.version_id.in_(list(versions))
        )
        with self._database.transaction() as connection:  # alone: many rows, in any order
            connection.execute(sa.delete(_tickets).where(_tickets.c.key.in_(opening)))

    def opening(self, versions: Iterable[str]) -> set[str]:
        """Return those of some versions that a ticket opens."""
        query = (
            sa.select(_ticket_versions.c.version_id)
            .join(_tickets)
            .where(
                _ticket_versions.c.version_id.in_(list(versions)),
                _tickets.c.dies_at > self._clock(),
            )
        )
        with self._database.reading() as connection:
            return set(connection.execute(query).scalars())

    def check(self, secret: str) -> Ticket:
        """Return what a ticket opens."""
        query = sa.select(_tickets.c.ticket).where(
            _tickets.c.key == _key(secret).hex(), _tickets.c.dies_at > self._clock()
        )
        with self._database.reading() as connection:
            found = connection.execute(query).scalar_one_or_none()
        if found is None:
            raise _refused()
        return Ticket.from_json(found)


def check_for_run(tickets: Tickets, secret: str, run: str) -> Ticket:
    """Return what a ticket for the results of a run opens.

    Raises
    ------
    TicketRefused
        It is unknown, too old, or for something else.
    """
    ticket = tickets.check(secret)
    if not ticket.takes_results or ticket.run != run:
        raise TicketRefused("the ticket is not for the results of this run")
    return ticket


def _refused() -> TicketRefused:
    return TicketRefused(
        "the ticket is unknown or has expired",
        hint="open a new session; tickets end after ten minutes and with the server",
    )


def _key(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
