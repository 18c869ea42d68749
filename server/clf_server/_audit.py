"""The audit log: every decision, appended once, in one transaction with what it decides."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from structlog.contextvars import get_contextvars

from clf_sdk.audit import (
    Checkpoint,
    Frontier,
    Node,
    Range,
    consistency_ranges,
    fold,
    inclusion_ranges,
    leaf_hash,
    subtrees,
)
from clf_sdk.errors import ConfigurationError, LogAltered, Malformed, NotFound, SignatureInvalid
from clf_sdk.keys import SigningKey
from clf_sdk.protocol import AuditEntry, Mode, canonical_json, digest
from clf_server._database import SCHEMA
from clf_server._metadata import Metadata

_MOST_DETAILS_BYTES = 64 << 10
_MOST_PAGE_BYTES = 8 << 20

_BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # SQLite's own key has this type
_entries = sa.Table(
    "audit_entries",
    SCHEMA,
    sa.Column("index", _BIG, primary_key=True, autoincrement=False),
    sa.Column("entry", sa.LargeBinary, nullable=False),  # canonical JSON
)
_nodes = sa.Table(
    "audit_nodes",
    SCHEMA,
    sa.Column("position", _BIG, primary_key=True, autoincrement=False),
    sa.Column("hash", sa.LargeBinary(32), nullable=False),
)
_head = sa.Table(
    "audit_head",
    SCHEMA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("note", sa.Text, nullable=False),
)

# Built once: that costs more than to run them.
_NOTE = sa.select(_head.c.note)
_SET_NOTE = sa.update(_head).values(note=sa.bindparam("note"))
_NODES = sa.select(_nodes).where(_nodes.c.position.in_(sa.bindparam("positions", expanding=True)))
_ADD_ENTRY, _ADD_NODES = sa.insert(_entries), sa.insert(_nodes)


class AuditLog:
    """The append-only log of one server (docs/protocol.md §14).

    Entries, the hashes of complete subtrees and the signed checkpoint change in one transaction:
    a process that dies leaves the log as it was before or as it is after.

    Parameters
    ----------
    metadata
        The database.
    identity
        Returns the key that signs checkpoints, as an open transaction sees it.
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
        self,
        metadata: Metadata,
        identity: Callable[[sa.Connection], SigningKey],
        *,
        mode: Mode,
        now: Callable[[], int],
    ) -> None:
        self._metadata = metadata
        self._identity = identity
        self._mode = mode
        self._now = now
        self._signed: Checkpoint | None = None  # the last one of this process, durable or not
        with metadata.transaction() as connection:
            if connection.execute(sa.select(_head.c.id)).first() is None:
                empty = Checkpoint.sign(identity(connection), size=0, root=Frontier().root)
                connection.execute(sa.insert(_head).values(id=0, note=empty.note))
            last = connection.execute(sa.select(sa.func.max(_entries.c.index))).scalar()
            try:
                if self._frontier(connection).size != (0 if last is None else last + 1):
                    raise _altered()
            except LogAltered as error:
                raise ConfigurationError(
                    "the audit log in the database is not the one that this server signed last",
                    hint="the database was edited, or belongs to another identity key; restore "
                    "both from one backup, and find out who changed them",
                ) from error

    def _checkpoint(
        self, connection: sa.Connection, signer: SigningKey | None = None
    ) -> Checkpoint:
        """Return the checkpoint that was signed last, by the present identity unless told."""
        note = connection.execute(_NOTE).scalar_one()
        signed = self._signed
        if signed is not None and signed.note == note:
            return signed  # verified when it was made
        key = signer or self._identity(connection)
        try:
            return Checkpoint.verify(note, public_key=key.public_bytes)
        except (SignatureInvalid, Malformed) as error:
            raise _altered() from error

    def _frontier(self, connection: sa.Connection, signer: SigningKey | None = None) -> Frontier:
        """Return the right edge of the tree, when it is the one that was signed last."""
        checkpoint = self._checkpoint(connection, signer)
        nodes = list(subtrees(0, checkpoint.size))
        hashes = _hashes(connection, nodes)
        frontier = Frontier(checkpoint.size, [hashes[node] for node in nodes])
        if frontier.root != checkpoint.root:
            raise _altered()
        return frontier

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

    def append_as_successor(
        self,
        event: str,
        details: dict[str, Any],
        *,
        connection: sa.Connection,
        before: SigningKey,
    ) -> int:
        """Log that the identity changed: continue what the one before signed, under the new one.

        Parameters
        ----------
        event, details, connection
            As for `append`; the transaction has changed the present identity.
        before
            The identity before, which signed the log so far.
        """
        return self._append(connection, event, details, before=before)

    def _append(
        self,
        connection: sa.Connection,
        event: str,
        details: dict[str, Any],
        *,
        before: SigningKey | None = None,
    ) -> int:
        frontier = self._frontier(connection, before)
        index = frontier.size
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
        completed = frontier.append(leaf_hash(entry))
        connection.execute(_ADD_ENTRY, {"index": index, "entry": entry})
        connection.execute(
            _ADD_NODES, [{"position": _position(node), "hash": h} for node, h in completed]
        )
        identity = self._identity(connection)
        checkpoint = Checkpoint.sign(identity, size=frontier.size, root=frontier.root)
        connection.execute(_SET_NOTE, {"note": checkpoint.note})
        self._signed = checkpoint
        return index

    def checkpoint(self) -> Checkpoint:
        """Return the signed state of the log."""
        with self._metadata.reading() as connection:
            return self._checkpoint(connection)

    def entries(self, start: int, limit: int) -> list[bytes]:
        """Return the canonical JSON of up to ``limit`` entries from number ``start`` on.

        They are fewer at the log's end, and where they would exceed 8 MiB.

        Raises
        ------
        LogAltered
            An entry is missing.
        """
        query = (
            sa.select(_entries).where(_entries.c.index >= start).order_by(_entries.c.index)
        ).limit(limit)
        found: list[bytes] = []
        left_bytes = _MOST_PAGE_BYTES
        with self._metadata.reading() as connection:
            for index, entry in connection.execute(query):
                if index != start + len(found):
                    raise _altered()
                left_bytes -= len(entry)
                if found and left_bytes < 0:
                    break
                found.append(entry)
        return found

    def prove_inclusion(self, index: int, size: int) -> list[bytes]:
        """Return the hashes that prove an entry to be among the first ``size`` ones.

        Raises
        ------
        NotFound
            The log has no such entry, or is not that long.
        """
        return self._prove(index + 1, size, lambda: inclusion_ranges(index, size))

    def prove_consistency(self, first: int, second: int) -> list[bytes]:
        """Return the hashes that prove the first ``second`` entries to begin with ``first`` ones.

        Raises
        ------
        NotFound
            The log is not that long.
        """
        if first == 0:
            return []  # every log continues the empty one
        return self._prove(first, second, lambda: consistency_ranges(first, second))

    def _prove(self, part: int, whole: int, ranges: Callable[[], list[Range]]) -> list[bytes]:
        with self._metadata.reading() as connection:
            size = self._checkpoint(connection).size
            if not part <= whole <= size:
                raise NotFound(f"there is no proof of {part} in {whole} of {size} audit entries")
            planned = [list(subtrees(*each)) for each in ranges()]
            hashes = _hashes(connection, [node for nodes in planned for node in nodes])
        return [fold([hashes[node] for node in nodes]) for nodes in planned]


def _position(node: Node) -> int:
    """Return the number of a node in an in-order walk: entry i has 2i, whatever follows."""
    level, index = node
    return (2 * index + 1 << level) - 1


@lru_cache(maxsize=128)
def _nodes_query(count: int) -> sa.Select[Any]:
    # Parameters of their own: a list is taken apart again at each use.
    return sa.select(_nodes).where(
        _nodes.c.position.in_([sa.bindparam(f"p{i}") for i in range(count)])
    )


def _hashes(connection: sa.Connection, nodes: list[Node]) -> dict[Node, bytes]:
    """Hashes of complete subtrees."""
    positions = {_position(node): node for node in nodes}
    asked = {f"p{i}": position for i, position in enumerate(positions)}
    rows = connection.execute(_nodes_query(len(asked)), asked)
    found = {positions[position]: bytes(h) for position, h in rows}
    if len(found) != len(positions):
        raise _altered()
    return found


def _altered() -> LogAltered:
    return LogAltered(
        "the audit log in the database is not the one that this server signed last",
        hint="the server's operator must restore the database, and find out who changed it",
    )
