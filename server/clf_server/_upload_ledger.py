"""Which uploads are open, and which of their objects have arrived."""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import sqlalchemy as sa

from clf_sdk.errors import Conflict, DeadlineExceeded, NotFound, TicketRefused, TooLarge
from clf_server._database import SCHEMA, Database
from clf_server._vault import Vault

_MOST_OPEN = 64
_MOST_OBJECTS = 100_000
STALL_SECONDS = 120
_LOST_SECONDS = 3600
"""When an upload is dead although an object is on its way: the replica that received it is."""

_uploads = sa.Table(
    "uploads",
    SCHEMA,
    sa.Column("upload", sa.String(32), primary_key=True),
    sa.Column("table_name", sa.String(64), nullable=False),
    sa.Column("policy", sa.Text, nullable=False),  # canonical JSON
    sa.Column("before_version", sa.String(32)),
    sa.Column("before_tag", sa.String(64)),
    sa.Column("version_id", sa.String(32), nullable=False, unique=True),
    sa.Column("table_key", sa.Text, nullable=False),  # wrapped
    sa.Column("ticket_hash", sa.String(64), nullable=False),
    sa.Column("touched_at", sa.Double, nullable=False),
)
_objects = sa.Table(
    "upload_objects",
    SCHEMA,
    sa.Column(
        "upload",
        sa.String(32),
        sa.ForeignKey("uploads.upload", ondelete="CASCADE"),
        primary_key=True,
    ),
    sa.Column("name", sa.String(16), primary_key=True),
    sa.Column("bytes", sa.BigInteger),  # null while it arrives
)


@dataclass(frozen=True)
class OpenUpload:
    """An upload that was announced and has not ended.

    Attributes
    ----------
    upload
        Its id.
    table_name, policy
        Which table it becomes, under which policy (canonical JSON).
    before_version, before_tag
        Version id and policy tag of the table when the upload was announced; None for a new one.
    version_id, table_key
        The new version, and its key.
    ticket_hash
        SHA-256 of the ticket's secret, in hex.
    """

    upload: str
    table_name: str
    policy: str
    before_version: str | None
    before_tag: str | None
    version_id: str
    table_key: bytes = field(repr=False)
    ticket_hash: str


def check_ticket(ticket_hash: str, ticket: str) -> None:
    """Check that a ticket is the one of an upload.

    Raises
    ------
    TicketRefused
        It is not.
    """
    if not hmac.compare_digest(ticket_hash, hash_ticket(ticket)):
        raise _no_ticket()


def hash_ticket(ticket: str) -> str:
    """Return the hash by which a ticket is known."""
    return hashlib.sha256(ticket.encode()).hexdigest()


def stalled() -> DeadlineExceeded:
    """Return the error of an object that stopped on its way."""
    return DeadlineExceeded(
        f"the upload made no progress for {STALL_SECONDS} seconds",
        hint="nothing was published; share it again",
    )


class UploadLedger(Protocol):
    """The open uploads of a server."""

    def add(self, opened: OpenUpload) -> None:
        """Note a new upload.

        Raises
        ------
        Conflict
            Too many are open.
        """

    def begin(self, upload: str, name: str, ticket: str) -> tuple[str, int]:
        """Note that an object arrives; return its version id, and how many bytes that has so far.

        Raises
        ------
        TicketRefused
            There is no such upload, or the ticket is not its.
        Conflict
            The object is there already, or on its way.
        TooLarge
            It has too many objects.
        """

    def end(self, upload: str, name: str, size_bytes: int | None) -> None:
        """Note that an object is there, or with None that it is not and may come again."""

    def take(self, upload: str) -> OpenUpload:
        """Take an upload out of the open ones; it ends, whatever happens next.

        Raises
        ------
        NotFound
            There is no such upload.
        Conflict
            Objects of it are still arriving.
        """

    def stalled(self) -> list[str]:
        """Return the ids of the uploads that have stood still for too long."""


@dataclass
class _Entry:
    opened: OpenUpload
    touched: float
    names: set[str] = field(default_factory=set)
    running: int = 0
    bytes: int = 0


class MemoryLedger:
    """The uploads of a server that is one process; they end with it.

    Parameters
    ----------
    monotonic
        A clock in seconds that no one can set back.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._open: dict[str, _Entry] = {}
        self._lock = threading.Lock()

    def add(self, opened: OpenUpload) -> None:
        """Note a new upload."""
        with self._lock:
            if len(self._open) >= _MOST_OPEN:
                raise _too_many()
            self._open[opened.upload] = _Entry(opened, self._monotonic())

    def begin(self, upload: str, name: str, ticket: str) -> tuple[str, int]:
        """Note that an object arrives."""
        with self._lock:
            entry = self._open.get(upload)
            if entry is None:
                raise _no_ticket()
            check_ticket(entry.opened.ticket_hash, ticket)
            if name in entry.names:
                raise _here_already()
            if len(entry.names) >= _MOST_OBJECTS:
                raise _too_many_objects()
            entry.names.add(name)
            entry.running += 1
            return entry.opened.version_id, entry.bytes

    def end(self, upload: str, name: str, size_bytes: int | None) -> None:
        """Note that an object is there, or that it is not."""
        with self._lock:
            entry = self._open[upload]  # it can't end while an object arrives
            entry.touched = self._monotonic()
            entry.running -= 1
            if size_bytes is None:
                entry.names.discard(name)
            else:
                entry.bytes += size_bytes

    def take(self, upload: str) -> OpenUpload:
        """Take an upload out of the open ones."""
        with self._lock:
            entry = self._open.get(upload)
            if entry is None:
                raise _unknown()
            if entry.running:
                raise _still_arriving()
            return self._open.pop(upload).opened

    def stalled(self) -> list[str]:
        """Return the ids of the uploads that have stood still for too long."""
        oldest = self._monotonic() - STALL_SECONDS
        with self._lock:
            return [
                upload
                for upload, entry in self._open.items()
                if not entry.running and entry.touched < oldest
            ]


class SharedLedger:
    """The uploads of all replicas: one may announce, others receive, and any commit.

    Parameters
    ----------
    database
        The one that the replicas share.
    vault
        Wraps the keys of open uploads.
    clock
        Wall clock, in Unix seconds.
    """

    def __init__(self, database: Database, vault: Vault, clock: Callable[[], float]) -> None:
        self._database = database
        self._vault = vault
        self._clock = clock

    def add(self, opened: OpenUpload) -> None:
        """Note a new upload."""
        count = sa.select(sa.func.count()).select_from(_uploads)
        values = vars(opened) | {"touched_at": self._clock()}
        values["table_key"] = self._vault.wrap_table_key(
            opened.table_key, table=opened.table_name, version_id=opened.version_id
        )
        with self._database.transaction() as connection:
            if connection.execute(count).scalar_one() >= _MOST_OPEN:
                raise _too_many()
            connection.execute(sa.insert(_uploads).values(values))

    def begin(self, upload: str, name: str, ticket: str) -> tuple[str, int]:
        """Note that an object arrives."""
        counts = sa.select(sa.func.count(), sa.func.sum(_objects.c.bytes)).where(
            _objects.c.upload == upload
        )
        with self._database.touching() as connection:
            row = self._lock(connection, upload)
            if row is None:
                raise _no_ticket()
            check_ticket(row.ticket_hash, ticket)
            objects, so_far = connection.execute(counts).one()
            if objects >= _MOST_OBJECTS:
                raise _too_many_objects()
            try:
                connection.execute(sa.insert(_objects).values(upload=upload, name=name))
            except sa.exc.IntegrityError as error:
                raise _here_already() from error
        return str(row.version_id), int(so_far or 0)

    def end(self, upload: str, name: str, size_bytes: int | None) -> None:
        """Note that an object is there, or that it is not."""
        this = (_objects.c.upload == upload, _objects.c.name == name)
        with self._database.touching() as connection:
            connection.execute(
                sa.update(_uploads)
                .where(_uploads.c.upload == upload)
                .values(touched_at=self._clock())
            )
            if size_bytes is None:
                connection.execute(sa.delete(_objects).where(*this))
            else:
                connection.execute(sa.update(_objects).where(*this).values(bytes=size_bytes))

    def take(self, upload: str) -> OpenUpload:
        """Take an upload out of the open ones."""
        arriving = sa.select(_objects.c.name).where(
            _objects.c.upload == upload, _objects.c.bytes.is_(None)
        )
        with self._database.touching() as connection:
            row = self._lock(connection, upload)
            if row is None:
                raise _unknown()
            lost = self._clock() - row.touched_at > _LOST_SECONDS
            if not lost and connection.execute(arriving.limit(1)).first() is not None:
                raise _still_arriving()
            connection.execute(sa.delete(_uploads).where(_uploads.c.upload == upload))
        values = row._asdict()
        del values["touched_at"]
        values["table_key"] = self._vault.unwrap_table_key(
            row.table_key, table=row.table_name, version_id=row.version_id
        )
        return OpenUpload(**values)

    def stalled(self) -> list[str]:
        """Return the ids of the uploads that have stood still for too long."""
        now = self._clock()
        running = sa.exists().where(
            _objects.c.upload == _uploads.c.upload, _objects.c.bytes.is_(None)
        )
        query = sa.select(_uploads.c.upload).where(
            sa.or_(
                sa.and_(~running, _uploads.c.touched_at < now - STALL_SECONDS),
                _uploads.c.touched_at < now - _LOST_SECONDS,
            )
        )
        with self._database.reading() as connection:
            return list(connection.execute(query).scalars())

    def _lock(self, connection: sa.Connection, upload: str) -> sa.Row[Any] | None:
        """Find an upload, and keep others from changing it until the transaction ends."""
        query = sa.select(_uploads).where(_uploads.c.upload == upload).with_for_update()
        return connection.execute(query).first()


def _too_many() -> Conflict:
    return Conflict(
        f"{_MOST_OPEN} uploads are open at this server",
        hint="wait until they end; one that stands still ends after two minutes",
    )


def _no_ticket() -> TicketRefused:
    return TicketRefused(
        "the ticket opens no upload of this id",
        hint="the upload ended or the server was restarted; share the table again",
    )


def _here_already() -> Conflict:
    return Conflict("this object of the upload is there already, or on its way")


def _too_many_objects() -> TooLarge:
    return TooLarge(f"an upload has at most {_MOST_OBJECTS:,} objects")


def _still_arriving() -> Conflict:
    return Conflict("objects of this upload are still arriving", hint="commit when all are there")


def _unknown() -> NotFound:
    return NotFound(
        "there is no such upload",
        hint="it ended, or the server was restarted; nothing was published; share the table again",
    )
