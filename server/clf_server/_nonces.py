"""Challenge nonces: random, used once, short-lived."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

import sqlalchemy as sa

from clf_sdk.errors import NonceRefused
from clf_server._database import SCHEMA, Database

NONCE_BYTES = 32
LIFETIME_SECONDS = 60
_MOST = 65_536
_SWEEP_ONE_IN = 256

_nonces = sa.Table(
    "nonces",
    SCHEMA,
    sa.Column("nonce", sa.String(64), primary_key=True),
    sa.Column("born_at", sa.Double, nullable=False, index=True),
)


class Nonces(Protocol):
    """Nonces that were given out and not yet used."""

    def issue(self) -> str:
        """Give out a fresh nonce, in hex."""

    def consume(self, nonce: str) -> None:
        """Use a nonce up.

        Raises
        ------
        NonceRefused
            It was never given out, was used before, or is too old.
        """


class NonceStore:
    """Nonces of a server that is one process.

    They live in memory only: a nonce from before a restart is unknown after it.

    Parameters
    ----------
    monotonic
        A clock in seconds that no one can set back.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._born: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def issue(self) -> str:
        """Give out a fresh nonce, in hex."""
        nonce = secrets.token_hex(NONCE_BYTES)
        now = self._monotonic()
        with self._lock:
            while self._born:
                oldest = next(iter(self._born))
                if now - self._born[oldest] <= LIFETIME_SECONDS and len(self._born) < _MOST:
                    break
                del self._born[oldest]
            self._born[nonce] = now
        return nonce

    def consume(self, nonce: str) -> None:
        """Use a nonce up."""
        with self._lock:
            born = self._born.pop(nonce, None)
        if born is None or self._monotonic() - born > LIFETIME_SECONDS:
            raise _refused()


class SharedNonces:
    """Nonces that any replica gives out and any takes, once: a row that one deletes.

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

    def issue(self) -> str:
        """Give out a fresh nonce, in hex."""
        nonce, now = secrets.token_hex(NONCE_BYTES), self._clock()
        # Another replica may delete the same rows just now: what it has locked is its business.
        dead = (
            sa.select(_nonces.c.nonce)
            .where(_nonces.c.born_at < now - LIFETIME_SECONDS)
            .with_for_update(skip_locked=True)
        )
        beyond = (
            sa.select(_nonces.c.nonce)
            .order_by(_nonces.c.born_at.desc())
            .offset(_MOST)
            .with_for_update(skip_locked=True)
        )
        with self._database.touching() as connection:
            connection.execute(sa.delete(_nonces).where(_nonces.c.nonce.in_(dead)))
            connection.execute(sa.insert(_nonces).values(nonce=nonce, born_at=now))
            if secrets.randbelow(_SWEEP_ONE_IN) == 0:  # a flood takes no space without end
                connection.execute(sa.delete(_nonces).where(_nonces.c.nonce.in_(beyond)))
        return nonce

    def consume(self, nonce: str) -> None:
        """Use a nonce up."""
        taken = sa.delete(_nonces).where(_nonces.c.nonce == nonce).returning(_nonces.c.born_at)
        with self._database.touching() as connection:
            born = connection.execute(taken).scalar_one_or_none()
        if born is None or self._clock() - born > LIFETIME_SECONDS:
            raise _refused()


def _refused() -> NonceRefused:
    return NonceRefused(
        "the nonce is unknown, used, or older than 60 seconds",
        hint="ask for a new challenge; every session needs its own",
    )
