"""Uploads: sealed objects come in, a version appears or nothing (docs/protocol.md §11.1)."""

from __future__ import annotations

import asyncio
import hmac
import secrets
import threading
from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass, field, replace

import sqlalchemy as sa
from starlette.concurrency import run_in_threadpool

from clf_sdk import Policy
from clf_sdk.errors import (
    Conflict,
    DeadlineExceeded,
    Malformed,
    NotFound,
    PolicyTampered,
    TicketRefused,
    TooLarge,
)
from clf_sdk.protocol import ColumnDescription, TableDescription, UploadTicket
from clf_sdk.sealed import Manifest, describe_schema, normalise_schema
from clf_server._metadata import StoredTable, Version
from clf_server._objects import ObjectWriter
from clf_server._policies import Policies, check_policy
from clf_server._state import ServerState
from clf_server._vault import MANIFEST_NAME, Vault

_MOST_OPEN = 64
_MOST_OBJECT_BYTES = 512 << 20
_MOST_OBJECTS = 100_000
_PIECE_BYTES = 2 << 20
_STALL_SECONDS = 120


@dataclass
class _Upload:
    """An upload that was announced and has not ended."""

    table: str
    policy: Policy
    before: StoredTable | None  # what the policy was compared with
    version_id: str
    table_key: bytes
    ticket: str
    touched: float
    writer: ObjectWriter | None = None
    names: set[str] = field(default_factory=set)
    running: int = 0
    left_bytes: int = 0


class Uploads:
    """Announced and running uploads of one server."""

    def __init__(self, state: ServerState, vault: Vault, policies: Policies) -> None:
        self._state = state
        self._vault = vault
        self._policies = policies
        self._open: dict[str, _Upload] = {}
        self._lock = threading.Lock()

    # -- 1. announce ---------------------------------------------------------------------------

    def announce(self, table: str, policy: Policy, *, widen: bool) -> UploadTicket:
        """Begin an upload: return its id, where its objects go, and the key to seal them with.

        Raises
        ------
        PolicyWidened, PolicyTampered
            As for `Policies.check_change`.
        Conflict
            Too many uploads are open.
        """
        self._expire()
        before = self._state.metadata.find_table(table)
        if before is not None:
            self._policies.check_change(before, policy, widen=widen)
        upload = secrets.token_hex(16)
        opened = _Upload(
            table=table,
            policy=policy,
            before=before,
            version_id=secrets.token_hex(16),
            table_key=self._vault.new_key(),
            ticket=secrets.token_urlsafe(32),
            touched=self._state.monotonic(),
            left_bytes=self._state.config.max_upload_bytes,
        )
        with self._lock:
            if len(self._open) >= _MOST_OPEN:
                raise Conflict(
                    f"{_MOST_OPEN} uploads are open at this server",
                    hint="wait until they end; one that stands still ends after two minutes",
                )
            self._open[upload] = opened
        return UploadTicket(
            upload=upload,
            version_id=opened.version_id,
            table_key=opened.table_key,
            url=self._state.blob_url,
            ticket=opened.ticket,
        )

    def _expire(self) -> None:
        """Forget the uploads that stand still, and reclaim their space."""
        oldest = self._state.monotonic() - _STALL_SECONDS
        with self._lock:
            dead = [
                upload
                for upload, opened in self._open.items()
                if not opened.running and opened.touched < oldest
            ]
        for upload in dead:
            self.abandon(upload)

    def _end(self, upload: str) -> _Upload:
        """Take an upload out of the open ones; it ends, whatever happens next."""
        with self._lock:
            opened = self._open.get(upload)
            if opened is None:
                raise _unknown()
            if opened.running:
                raise Conflict(
                    "objects of this upload are still arriving", hint="commit when all are there"
                )
            return self._open.pop(upload)

    def abandon(self, upload: str) -> None:
        """End an upload without a trace.

        Raises
        ------
        NotFound
            There is no such upload.
        Conflict
            Objects of it are still arriving.
        """
        opened = self._end(upload)
        if opened.writer is not None:
            opened.writer.discard()

    # -- 2. objects ----------------------------------------------------------------------------

    def _begin(self, upload: str, name: str, ticket: str) -> tuple[_Upload, ObjectWriter]:
        with self._lock:
            opened = self._open.get(upload)
            if opened is None or not hmac.compare_digest(opened.ticket.encode(), ticket.encode()):
                raise TicketRefused(
                    "the ticket opens no upload of this id",
                    hint="the upload ended or the server was restarted; share the table again",
                )
            if name in opened.names:
                raise Conflict("this object of the upload is there already, or on its way")
            if len(opened.names) >= _MOST_OBJECTS:
                raise TooLarge(f"an upload has at most {_MOST_OBJECTS:,} objects")
            if opened.writer is None:
                opened.writer = self._state.objects.writer(opened.version_id)
            opened.names.add(name)
            opened.running += 1
            return opened, opened.writer

    async def receive(
        self, upload: str, name: str, *, ticket: str, chunks: AsyncIterable[bytes]
    ) -> None:
        """Store one sealed object while it arrives.

        Raises
        ------
        TicketRefused
            The ticket is not this upload's, or the upload has ended.
        Conflict
            The object is there already.
        TooLarge
            The object, or the upload, exceeds its limit.
        DeadlineExceeded
            Nothing arrived for two minutes.
        StorageFull
            No space is left.
        """
        opened, writer = self._begin(upload, name, ticket)
        whole = False
        try:
            with writer.object(name) as write:
                await self._store(opened, write, chunks)
            whole = True
        finally:
            with self._lock:
                opened.running -= 1
                opened.touched = self._state.monotonic()
                if not whole:
                    opened.names.discard(name)
            asyncio.get_running_loop().call_later(_STALL_SECONDS + 1, self._expire_soon)

    def _expire_soon(self) -> None:
        asyncio.get_running_loop().run_in_executor(None, self._expire)

    async def _store(
        self, opened: _Upload, write: Callable[[list[bytes]], None], chunks: AsyncIterable[bytes]
    ) -> None:
        """Write a request's body in pieces that are worth a thread."""
        loop = asyncio.get_running_loop()
        pieces: list[bytes] = []
        size = total = 0
        try:
            async with asyncio.timeout(_STALL_SECONDS) as deadline:
                async for chunk in chunks:
                    pieces.append(chunk)
                    size += len(chunk)
                    if size >= _PIECE_BYTES:
                        total += size
                        self._count(opened, size, total)
                        await run_in_threadpool(write, pieces)
                        pieces, size = [], 0
                        deadline.reschedule(loop.time() + _STALL_SECONDS)
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"the upload made no progress for {_STALL_SECONDS} seconds",
                hint="nothing was published; share it again",
            ) from error
        self._count(opened, size, total + size)
        await run_in_threadpool(write, pieces)

    def _count(self, opened: _Upload, size: int, total: int) -> None:
        if total > _MOST_OBJECT_BYTES:
            raise TooLarge(
                f"one object holds more than {_MOST_OBJECT_BYTES >> 20} MiB",
                hint="seal smaller row groups",
            )
        with self._lock:
            opened.left_bytes -= size
            exhausted = opened.left_bytes < 0
        if exhausted:
            raise TooLarge(
                "the upload exceeds the server's size limit",
                hint="the operator can raise max_upload_bytes",
            )

    # -- 3. commit -----------------------------------------------------------------------------

    def commit(self, upload: str, version: str) -> TableDescription:
        """Check that all objects are there, and publish them as the table's version.

        Raises
        ------
        NotFound
            There is no such upload.
        SealBroken
            The manifest is not the one of this version, or not under the upload's key.
        Malformed
            Objects are missing, or have other lengths than the manifest says.
        ConfigurationError, InvalidFilter
            The policy does not fit the table.
        Conflict
            The table or its policy was changed since the upload was announced.
        """
        opened = self._end(upload)
        if opened.writer is None:
            raise Malformed("the upload has no manifest", hint="put all objects, then commit")
        with opened.writer as writer:
            return self._publish(opened, writer, version)

    def _publish(self, opened: _Upload, writer: ObjectWriter, version: str) -> TableDescription:
        state, name, before = self._state, opened.table, opened.before
        sizes = state.objects.sizes(opened.version_id)
        if MANIFEST_NAME not in sizes:
            raise Malformed("the upload has no manifest", hint="put all objects, then commit")
        stored = Version(
            version_id=opened.version_id,
            table_name=name,
            version=version,
            table_key=self._vault.wrap_table_key(
                opened.table_key, table=name, version_id=opened.version_id
            ),
            rows=0,
            row_groups=0,
            manifest_bytes=sizes[MANIFEST_NAME],
            sealed_bytes=sum(sizes.values()),
            created_at=state.now(),
        )
        manifest = self._vault.manifest(stored)
        _check_objects(manifest, sizes)
        check_policy(opened.policy, manifest.schema)
        stored = replace(stored, rows=manifest.rows, row_groups=len(manifest.row_groups))
        writer.commit()
        policy = self._policies.seal(opened.policy, stored)
        changed = None if before is None else self._policies.describe_change(before, opened.policy)

        def store(connection: sa.Connection, stored: Version) -> list[str]:
            gone = state.metadata.publish(connection, stored, policy=policy, before=before)
            shared = {
                "table": name,
                "version": stored.version,
                "replaces": before.current.version if before else None,
                "rows": stored.rows,
                "sealed_bytes": stored.sealed_bytes,
                "policy": opened.policy.digest,
            }
            state.audit.append("table.shared", shared, connection=connection)
            if changed is not None:
                details = changed | {"version": stored.version}
                state.audit.append("policy.changed", details, connection=connection)
            return gone

        try:
            gone = self._vault.storing(stored, opened.table_key, store)
        except BaseException:
            state.objects.delete(opened.version_id)
            raise
        for version_id in gone:
            state.objects.delete(version_id)
        return self.describe(state.metadata.table(name))

    def describe(self, table: StoredTable) -> TableDescription:
        """Describe a table to its owner; its columns are read from the sealed manifest.

        The policy is null when what is stored is not what the owner set.
        """
        version = table.current
        try:
            policy = self._policies.of(table).to_json()
        except PolicyTampered:
            policy = None
        manifest = self._vault.manifest(version)
        return TableDescription(
            name=table.name,
            version=version.version,
            version_id=version.version_id,
            rows=version.rows,
            row_groups=version.row_groups,
            columns=[ColumnDescription.parse(entry) for entry in describe_schema(manifest.schema)],
            sealed_bytes=version.sealed_bytes,
            created_at=version.created_at,
            policy=policy,
        )

    def catalogue(self, table: StoredTable) -> TableDescription | None:
        """Describe a table to an analyst: without its policy, and with the columns that may leave.

        None when the stored policy, which says which those are, was tampered with.
        """
        try:
            allowed = self._policies.of(table).columns
        except PolicyTampered:
            return None
        whole = self.describe(table)
        columns = [each for each in whole.columns if allowed is None or each.name in allowed]
        return whole.model_copy(update={"columns": columns, "policy": None})


def _check_objects(manifest: Manifest, sizes: dict[str, int]) -> None:
    expected = {str(number): group.bytes for number, group in enumerate(manifest.row_groups)}
    found = {name: size for name, size in sizes.items() if name != MANIFEST_NAME}
    if found != expected:
        raise Malformed(
            "the objects of the upload are not those that its manifest names",
            hint="some are missing, too many, or cut; share the table again",
        )
    if not normalise_schema(manifest.schema).equals(manifest.schema, check_metadata=True):
        raise Malformed("the manifest's schema is not in the form of docs/protocol.md §4.4")


def _unknown() -> NotFound:
    return NotFound(
        "there is no such upload",
        hint="it ended, or the server was restarted; nothing was published; share the table again",
    )
