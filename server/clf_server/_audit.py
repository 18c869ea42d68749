"""The audit log: every decision, appended once, in one transaction with what it decides."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import sqlalchemy as sa
from structlog.contextvars import get_contextvars

from clf_sdk.audit import Checkpoint, Frontier, Node, leaf_hash, subtrees
from clf_sdk.errors import ConfigurationError, SignatureInvalid
from clf_sdk.keys import SigningKey
from clf_sdk.protocol import AuditEntry, Mode, canonical_json, digest
from clf_server._metadata import Metadata

_MOST_DETAILS_BYTES = 64 << 10

_schema = sa.MetaData()
_entries = sa.Table(
    "audit_entries",
    _schema,
    sa.Column("index", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("entry", sa.LargeBinary, nullable=False),  # canonical JSON
)
_nodes = sa.Table(
    "audit_nodes",
    _schema,
    sa.Column("level", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("index", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("hash", sa.LargeBinary(32), nullable=False),
    sqlite_with_rowid=False,
)
_head = sa.Table(
    "audit_head",
    _schema,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
)


class AuditLog:
    """The append-only log of one server (docs/protocol.md §14).

    Entries, the hashes of complete subtrees and the signed checkpoint change in one transaction:
    a process that dies leaves the log as it was before or as it is after.

    Parameters
    ----------
    metadata
        The database.
    identity
        Signs checkpoints.
    mode
        Stands in each entry.
    now
        Wall clock, in Unix seconds.

    Raises
    ------
    ConfigurationError
        The database holds another log than the one that the server signed last.
    """

    def __init__(
        self, metadata: Metadata, identity: SigningKey, *, mode: Mode, now: Callable[[], int]
    ) -> None:
        self._metadata = metadata
        self._identity = identity
        self._mode = mode
        self._now = now
        metadata.create(_schema)
        with metadata.transaction() as connection:
            if connection.execute(sa.select(_head.c.id)).first() is None:
                empty = Checkpoint.sign(identity, size=0, root=Frontier().root)
                connection.execute(sa.insert(_head).values(id=0, size=0, note=empty.note))
            self._check(connection)

    def _check(self, connection: sa.Connection) -> None:
        """Refuse a database that was edited without the identity key."""
        checkpoint = self._checkpoint(connection)
        stored = connection.execute(sa.select(sa.func.count(), sa.func.max(_entries.c.index))).one()
        last = None if checkpoint.size == 0 else checkpoint.size - 1
        root = _frontier(connection, checkpoint.size).root
        if tuple(stored) != (checkpoint.size, last) or root != checkpoint.root:
            raise _edited()

    def _checkpoint(self, connection: sa.Connection) -> Checkpoint:
        size, note = connection.execute(sa.select(_head.c.size, _head.c.note)).one()
        try:
            checkpoint = Checkpoint.verify(note, public_key=self._identity.public_bytes)
        except SignatureInvalid as error:
            raise _edited() from error
        if checkpoint.size != size:
            raise _edited()
        return checkpoint

    def append(
        self, event: str, details: dict[str, Any], *, connection: sa.Connection | None = None
    ) -> int:
        """Log a decision, and return the number of its entry.

        Parameters
        ----------
        event
            What was decided: ``noun.participle``, as docs/protocol.md §14.1 lists them.
        details
            JSON values: names, digests, sizes, reasons; no value of a table, no secret. What
            exceeds 64 KiB is replaced by its digest.
        connection
            Open transaction of `Metadata.transaction` that carries out the decision: then both
            become durable together, when it commits. Without one the entry is durable when this
            returns.
        """
        size_bytes = len(canonical_json(details))
        if size_bytes > _MOST_DETAILS_BYTES:
            details = {"omitted_bytes": size_bytes, "sha256": digest(details)}
        within = self._metadata.transaction() if connection is None else nullcontext(connection)
        with within as opened:
            return self._append(opened, event, details)

    def _append(self, connection: sa.Connection, event: str, details: dict[str, Any]) -> int:
        # Writing first takes the database's write lock, before anything is read.
        index: int = (
            connection.execute(
                sa.update(_head).values(size=_head.c.size + 1).returning(_head.c.size)
            ).scalar_one()
            - 1
        )
        entry = AuditEntry(
            clf=1,
            type="audit-entry",
            index=index,
            time=self._now(),
            mode=self._mode,
            event=event,
            request=get_contextvars().get("request_id"),
            details=details,
        ).canonical()
        frontier = _frontier(connection, index)
        completed = frontier.append(leaf_hash(entry))
        connection.execute(sa.insert(_entries).values(index=index, entry=entry))
        connection.execute(
            sa.insert(_nodes),
            [{"level": level, "index": place, "hash": h} for (level, place), h in completed],
        )
        checkpoint = Checkpoint.sign(self._identity, size=frontier.size, root=frontier.root)
        connection.execute(sa.update(_head).values(note=checkpoint.note))
        return index


def _hashes(connection: sa.Connection, nodes: list[Node]) -> dict[Node, bytes]:
    """Hashes of complete subtrees."""
    query = sa.select(_nodes).where(sa.tuple_(_nodes.c.level, _nodes.c.index).in_(nodes))
    return {(level, index): bytes(h) for level, index, h in connection.execute(query)}


def _frontier(connection: sa.Connection, size: int) -> Frontier:
    nodes = list(subtrees(0, size))
    hashes = _hashes(connection, nodes)
    try:
        return Frontier(size, [hashes[node] for node in nodes])
    except KeyError as error:
        raise _edited() from error


def _edited() -> ConfigurationError:
    return ConfigurationError(
        "the audit log in the database is not the one that this server signed last",
        hint="the database was edited, or belongs to another identity key; restore both from "
        "one backup and find out who changed them",
    )
