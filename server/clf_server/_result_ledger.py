"""Which results are arriving: outputs of which objects are here and the envelope is not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import sqlalchemy as sa

from clf_sdk.errors import Conflict, TicketRefused, TooLarge
from clf_server._database import SCHEMA
from clf_server._metadata import Metadata
from clf_server._tickets import LIFETIME_SECONDS

_MOST_OUTPUT_BYTES = 16 << 30
_MOST_OPEN = 256
_MOST_OPEN_OF_RUN = 64

_staged = sa.Table(
    "staged_results",
    SCHEMA,
    sa.Column("version_id", sa.String(32), primary_key=True),
    sa.Column("run", sa.String(32), nullable=False),
    sa.Column("output", sa.String(64), nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("dies_at", sa.Double, nullable=False),
)


class ResultLedger(Protocol):
    """The results that are arriving at a server."""

    def note(self, version_id: str, *, run: str, output: str, size_bytes: int) -> None:
        """Note that an object of an output comes.

        Raises
        ------
        TicketRefused
            The version id belongs to another output.
        Conflict
            It is that of an output or table that is visible.
        TooLarge
            The output is too large, or too many are arriving.
        """

    def take(self, version_id: str) -> str | None:
        """Take an output out of those that arrive; return its run, or None where there is none."""

    def expire(self) -> list[str]:
        """Forget those that nobody finished, and return their version ids."""


@dataclass
class _Entry:
    run: str
    output: str
    bytes: int
    dies: float


class MemoryResults:
    """The results of a server that is one process.

    Parameters
    ----------
    monotonic
        A clock in seconds that no one can set back.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._entries: dict[str, _Entry] = {}
        self._lock = threading.Lock()

    def note(self, version_id: str, *, run: str, output: str, size_bytes: int) -> None:
        """Note that an object of an output comes."""
        dies = self._monotonic() + LIFETIME_SECONDS
        with self._lock:
            entry = self._entries.get(version_id)
            if entry is None:
                of_run = sum(each.run == run for each in self._entries.values())
                _check_room(len(self._entries), of_run)
                entry = self._entries[version_id] = _Entry(run, output, 0, dies)
            _check(entry.run, entry.output, entry.bytes + size_bytes, run=run, output=output)
            entry.bytes += size_bytes
            entry.dies = dies

    def take(self, version_id: str) -> str | None:
        """Take an output out of those that arrive."""
        with self._lock:
            entry = self._entries.pop(version_id, None)
        return None if entry is None else entry.run

    def expire(self) -> list[str]:
        """Forget those that nobody finished."""
        now = self._monotonic()
        with self._lock:
            dead = [key for key, entry in self._entries.items() if entry.dies <= now]
            for key in dead:
                del self._entries[key]
        return dead


class SharedResults:
    """The results of all replicas: several may receive the objects of one output.

    Parameters
    ----------
    metadata
        The database that the replicas share.
    clock
        Wall clock, in Unix seconds.
    """

    def __init__(self, metadata: Metadata, clock: Callable[[], float]) -> None:
        self._metadata = metadata
        self._clock = clock

    def note(self, version_id: str, *, run: str, output: str, size_bytes: int) -> None:
        """Note that an object of an output comes."""
        this = _staged.c.version_id == version_id
        count = sa.select(
            sa.func.count(), sa.func.count(sa.case((_staged.c.run == run, 1)))
        ).select_from(_staged)
        values = {"dies_at": self._clock() + LIFETIME_SECONDS}
        with self._metadata.transaction() as connection:
            row = connection.execute(sa.select(_staged).where(this)).first()
            if row is None:
                if self._metadata.known_versions(connection, [version_id]):
                    raise Conflict("this version id is in use", hint="draw a new random one")
                _check_room(*connection.execute(count).one())
                _check(run, output, size_bytes, run=run, output=output)
                connection.execute(
                    sa.insert(_staged).values(
                        version_id=version_id, run=run, output=output, bytes=size_bytes, **values
                    )
                )
                return
            _check(row.run, row.output, row.bytes + size_bytes, run=run, output=output)
            connection.execute(
                sa.update(_staged).where(this).values(bytes=row.bytes + size_bytes, **values)
            )

    def take(self, version_id: str) -> str | None:
        """Take an output out of those that arrive."""
        taken = sa.delete(_staged).where(_staged.c.version_id == version_id)
        with self._metadata.touching() as connection:
            return connection.execute(taken.returning(_staged.c.run)).scalar_one_or_none()

    def expire(self) -> list[str]:
        """Forget those that nobody finished."""
        dead = sa.delete(_staged).where(_staged.c.dies_at <= self._clock())
        with self._metadata.transaction() as connection:  # alone: many rows, in any order
            found = set(connection.execute(dead.returning(_staged.c.version_id)).scalars())
            return sorted(found - self._metadata.known_versions(connection, found))


def _check(its_run: str, its_output: str, size_bytes: int, *, run: str, output: str) -> None:
    if (its_run, its_output) != (run, output):
        raise TicketRefused("the version id belongs to another result")
    if size_bytes > _MOST_OUTPUT_BYTES:
        raise TooLarge("the output exceeds the server's limit")


def _check_room(count: int, of_run: int) -> None:
    if count >= _MOST_OPEN or of_run >= _MOST_OPEN_OF_RUN:
        raise TooLarge("too many results are arriving at once", hint="try again later")
