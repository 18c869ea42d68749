"""Tickets: what an attested session may pull and put for the next minutes."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from clf_sdk.errors import TicketRefused
from clf_sdk.protocol import Mode

LIFETIME_SECONDS = 600


@dataclass(frozen=True)
class Ticket:
    """What a ticket opens.

    Attributes
    ----------
    versions
        Version ids whose blobs may be pulled; empty for a result ticket.
    run, job, mode
        Which run, for which job, proved how.
    enclave
        Signing key that the enclave's quote binds.
    session
        Id of the session.
    takes_results
        Whether results may be put with it.
    review
        Whether the owner must release the results.
    """

    versions: frozenset[str]
    run: str
    job: str
    mode: Mode
    enclave: bytes
    session: str
    takes_results: bool
    review: bool


class TicketStore:
    """Tickets in memory, by the hash of their secret; they end with the process."""

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
        """Kill every ticket that opens one of some versions."""
        gone = frozenset(versions)
        with self._lock:
            for key, (_, ticket) in list(self._tickets.items()):
                if ticket.versions & gone:
                    del self._tickets[key]

    def check(self, secret: str) -> Ticket:
        """Return what a ticket opens.

        Raises
        ------
        TicketRefused
            It is unknown or too old.
        """
        with self._lock:
            dies, ticket = self._tickets.get(_key(secret), (0.0, None))
        if ticket is None or dies <= self._monotonic():
            raise TicketRefused(
                "the ticket is unknown or has expired",
                hint="open a new session; tickets end after ten minutes and with the server",
            )
        return ticket

    def check_for_run(self, secret: str, run: str) -> Ticket:
        """Return what a ticket for the results of a run opens.

        Raises
        ------
        TicketRefused
            It is unknown, too old, or for something else.
        """
        ticket = self.check(secret)
        if not ticket.takes_results or ticket.run != run:
            raise TicketRefused("the ticket is not for the results of this run")
        return ticket


def _key(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
