"""Uploads: sealed objects come in, a version appears or nothing (docs/protocol.md §11.1)."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import secrets
import threading
from collections.abc import AsyncIterable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import ParamSpec, TypeVar

import sqlalchemy as sa
from fastapi.concurrency import contextmanager_in_threadpool
from starlette.concurrency import run_in_threadpool

from clf_sdk import Policy
from clf_sdk._mock_document import mock_from_document, mock_to_document
from clf_sdk.errors import (
    Conflict,
    Malformed,
    NotFound,
    PolicyTampered,
    StorageUnavailable,
    TooLarge,
)
from clf_sdk.operations import millionths
from clf_sdk.protocol import (
    ColumnDescription,
    PrivacyBudget,
    TableDescription,
    TableMock,
    UploadCommit,
    UploadTicket,
    canonical_json,
    parse_json,
)
from clf_sdk.sealed import Manifest, describe_schema, normalise_schema
from clf_server._access import Principal
from clf_server._budgets import find_spent
from clf_server._intake import DirectBody
from clf_server._metadata import StoredTable, Version, overtaken
from clf_server._objects import ObjectWriter
from clf_server._policies import Policies, check_policy
from clf_server._state import ServerState
from clf_server._upload_ledger import (
    STALL_SECONDS,
    MemoryLedger,
    OpenUpload,
    SharedLedger,
    UploadLedger,
    hash_ticket,
    stalled,
)
from clf_server._vault import DOCUMENT_NAME, MANIFEST_NAME, Vault
from clf_server._whole import check_objects, is_whole

_P = ParamSpec("_P")
_T = TypeVar("_T")

_MOST_OBJECT_BYTES = 512 << 20
_PIECE_BYTES = 2 << 20
_MOST_MOCK_BYTES = 4 << 20


class Uploads:
    """Announced and running uploads of one server."""

    def __init__(self, state: ServerState, vault: Vault, policies: Policies) -> None:
        self._state = state
        self._vault = vault
        self._policies = policies
        self._ledger: UploadLedger = (
            SharedLedger(state.metadata, vault, state.clock)
            if state.metadata.shared
            else MemoryLedger(state.monotonic)
        )
        self._writers: dict[str, ObjectWriter] = {}  # by version id, in a directory of our own
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
        self._state.objects.settle()
        before = self._state.metadata.find_table(table)
        if before is not None:
            self._policies.check_change(before, policy, widen=widen)
        ticket = secrets.token_urlsafe(32)
        version_id, table_key = secrets.token_hex(16), self._vault.new_key()
        opened = OpenUpload(
            upload=secrets.token_hex(16),
            table_name=table,
            policy=canonical_json(policy.to_json()).decode(),
            before_version=None if before is None else before.current.version_id,
            before_tag=None if before is None else before.policy.tag,
            version_id=version_id,
            table_key=table_key,
            ticket_hash=hash_ticket(ticket),
        )
        self._ledger.add(opened)
        return UploadTicket(
            upload=opened.upload,
            version_id=version_id,
            table_key=table_key,
            content_key=None if before is None else self._vault.content_key(before.current),
            url=self._state.blob_url,
            ticket=ticket,
        )

    def _expire(self) -> None:
        """Forget the uploads that stand still, and reclaim their space."""
        for upload in self._ledger.stalled():
            with contextlib.suppress(NotFound, Conflict):  # it ended or goes on meanwhile
                self.abandon(upload)

    def abandon(self, upload: str) -> None:
        """End an upload without a trace.

        Raises
        ------
        NotFound
            There is no such upload.
        Conflict
            Objects of it are still arriving.
        """
        opened = self._ledger.take(upload)
        writer = self._end_writer(opened.version_id)
        if writer is not None:
            writer.discard()

    def _writer(self, version_id: str) -> ObjectWriter:
        if self._state.objects.remote:
            return self._state.objects.writer(version_id)
        with self._lock:
            if version_id not in self._writers:
                self._writers[version_id] = self._state.objects.writer(version_id)
            return self._writers[version_id]

    def _end_writer(self, version_id: str) -> ObjectWriter | None:
        """Return what wrote an upload; None when nothing arrived."""
        if self._state.objects.remote:
            return self._state.objects.writer(version_id)
        with self._lock:
            return self._writers.pop(version_id, None)

    # -- 2. objects ----------------------------------------------------------------------------

    async def receive(
        self, upload: str, name: str, *, ticket: str, body: DirectBody | AsyncIterable[bytes]
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
        version_id, so_far = await self._note(self._ledger.begin, upload, name, ticket)
        left_bytes = self._state.config.max_upload_bytes - so_far
        size: int | None = None
        try:
            size = await self._store(self._writer(version_id), name, left_bytes, body)
            self._state.metrics.received(size)
        finally:
            await self._note(self._ledger.end, upload, name, size)
            asyncio.get_running_loop().call_later(STALL_SECONDS + 1, self._expire_soon)

    async def _note(self, call: Callable[_P, _T], *args: _P.args, **options: _P.kwargs) -> _T:
        """Ask the ledger: at once when it is in memory, in a thread when it waits for a network."""
        if self._state.metadata.shared:
            return await run_in_threadpool(call, *args, **options)
        return call(*args, **options)

    def _expire_soon(self) -> None:
        asyncio.get_running_loop().run_in_executor(None, self._expire)

    async def _store(
        self,
        writer: ObjectWriter,
        name: str,
        left_bytes: int,
        body: DirectBody | AsyncIterable[bytes],
    ) -> int:
        """Write a request's body in pieces that are worth a thread; return its size."""
        if isinstance(body, DirectBody):
            _check_size(body.size, left_bytes)
        async with AsyncExitStack() as stack:
            opening = writer.object(name)
            if self._state.objects.remote:
                write = await stack.enter_async_context(contextmanager_in_threadpool(opening))
            else:
                write = stack.enter_context(opening)
            if isinstance(body, DirectBody):
                await body.into(write)
                return body.size
            loop = asyncio.get_running_loop()
            pieces: list[bytes] = []
            size = total = 0
            try:
                async with asyncio.timeout(STALL_SECONDS) as deadline:
                    async for chunk in body:
                        pieces.append(chunk)
                        size += len(chunk)
                        if size >= _PIECE_BYTES:
                            total += size
                            _check_size(total, left_bytes)
                            await run_in_threadpool(write, pieces)
                            pieces, size = [], 0
                            deadline.reschedule(loop.time() + STALL_SECONDS)
            except TimeoutError as error:
                raise stalled() from error
            total += size
            _check_size(total, left_bytes)
            await run_in_threadpool(write, pieces)
        return total

    # -- 3. commit -----------------------------------------------------------------------------

    def commit(self, upload: str, commit: UploadCommit) -> TableDescription:
        """Check that all objects are there, and publish them as the table's version.

        If the table holds the same already, its version stays, under the upload's policy.

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
        opened = self._ledger.take(upload)
        writer = self._end_writer(opened.version_id)
        if writer is None:
            raise Malformed("the upload has no manifest", hint="put all objects, then commit")
        with writer:
            new_policy = Policy.from_json(parse_json(opened.policy.encode(), what="policy"))
            before = self._before(opened)
            # First, so that whoever holds a token can't ask whether a guess of the content is right
            # without either publishing it or leaving an entry in the log.
            stored = self._checked(opened, commit, new_policy)
            if before is not None and self._holds_already(before.current, commit.same_as):
                return self._keep(before, new_policy)
            writer.commit()
            return self._publish(opened, stored, before=before, new_policy=new_policy)

    def _before(self, opened: OpenUpload) -> StoredTable | None:
        """Return the table as it was when the upload was announced."""
        now = self._state.metadata.find_table(opened.table_name)
        known = (None, None) if now is None else (now.current.version_id, now.policy.tag)
        if known != (opened.before_version, opened.before_tag):
            raise overtaken(opened.table_name)
        return now

    def _holds_already(self, version: Version, same_as: str | None) -> bool:
        if version.content is None or same_as is None:
            return False
        same = hmac.compare_digest(version.content, same_as)
        return same and is_whole(self._state, self._vault, version)

    def _keep(self, before: StoredTable, new_policy: Policy) -> TableDescription:
        self._policies.replace(before, new_policy)
        with self._state.metadata.transaction() as connection:
            now = self._state.metadata.find_table(before.name, connection)
            if now is None or now.current.version_id != before.current.version_id:
                raise overtaken(before.name)
            shared = _shared(now.current, before=before, policy=new_policy)
            self._state.audit.append("table.shared", shared, connection=connection)
        return self.describe(now)

    def _checked(self, opened: OpenUpload, commit: UploadCommit, new_policy: Policy) -> Version:
        """Return the version that an upload makes, if it can be published under a policy."""
        state, name = self._state, opened.table_name
        sizes = state.objects.sizes(opened.version_id)
        if MANIFEST_NAME not in sizes:
            raise Malformed("the upload has no manifest", hint="put all objects, then commit")
        stored = Version(
            version_id=opened.version_id,
            table_name=name,
            version=commit.version,
            table_key=self._vault.wrap_table_key(
                opened.table_key, table=name, version_id=opened.version_id
            ),
            rows=0,
            row_groups=0,
            manifest_bytes=sizes[MANIFEST_NAME],
            sealed_bytes=sum(sizes.values()),
            created_at=state.now(),
            content=commit.content,
        )
        manifest = self._vault.manifest(stored)
        check_objects(manifest, sizes)
        _check_schema(manifest)
        check_policy(new_policy, manifest.schema)
        self._check_mock(stored, manifest, sizes)
        return replace(stored, rows=manifest.rows, row_groups=len(manifest.row_groups))

    def _publish(
        self,
        opened: OpenUpload,
        stored: Version,
        *,
        before: StoredTable | None,
        new_policy: Policy,
    ) -> TableDescription:
        state = self._state
        policy = self._policies.seal(new_policy, stored)
        changed = None if before is None else self._policies.describe_change(before, new_policy)

        def store(connection: sa.Connection, stored: Version) -> list[str]:
            gone = state.metadata.publish(connection, stored, policy=policy, before=before)
            shared = _shared(stored, before=before, policy=new_policy)
            state.audit.append("table.shared", shared, connection=connection)
            if changed is not None:
                details = changed | {"version": stored.version}
                state.audit.append("policy.changed", details, connection=connection)
            return gone

        try:
            gone = self._vault.storing(stored, opened.table_key, store)
        except StorageUnavailable:
            raise  # it may be published: nobody deletes what the database may name
        except BaseException:
            state.objects.delete(opened.version_id)
            raise
        state.tickets.revoke(gone)
        for version_id in gone:
            state.objects.delete_soon(version_id)
        return self.describe(state.metadata.table(stored.table_name))

    def _check_mock(self, stored: Version, manifest: Manifest, sizes: dict[str, int]) -> None:
        if sizes.get(DOCUMENT_NAME, 0) > _MOST_MOCK_BYTES:
            raise TooLarge(f"a mock has at most {_MOST_MOCK_BYTES >> 20} MiB")
        mock = self._vault.mock(stored)
        if mock is None:
            return
        types = {field.name: field.type for field in manifest.schema}
        for field in mock_from_document(mock).schema:
            if types.get(field.name) != field.type:
                raise Malformed("the mock has a column that the table has not")

    def mock(self, table: StoredTable, principal: Principal) -> TableMock:
        """Return the mock of a table; to analysts who may ask for it, its columns that may leave.

        Raises
        ------
        NotFound
            The owner shares none.
        PolicyTampered
            The policy, which says what may leave, is not what the owner set.
        """
        mock, allowed = self._vault.mock(table.current), None
        if principal.role != "owner":
            policy = self._policies.of(table)
            allowed = policy.columns
            if not _may_ask(policy, principal.analyst):
                mock = None
        if mock is None:
            raise NotFound(
                f"table {table.name!r} has no mock", hint="its owner can share it with mock=True"
            )
        if allowed is None:
            return mock
        whole = mock_from_document(mock)
        shown = whole.select([name for name in whole.column_names if name in allowed])
        return TableMock.parse(mock_to_document(shown))

    def describe(self, table: StoredTable) -> TableDescription:
        """Describe a table to its owner; its columns are read from the sealed manifest.

        The policy is null when what is stored is not what the owner set.
        """
        version = table.current
        try:
            policy = self._policies.of(table)
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
            policy=None if policy is None else policy.to_json(),
            privacy=self._privacy(version.table_name, policy),
        )

    def _privacy(self, table: str, policy: Policy | None) -> PrivacyBudget | None:
        with self._state.metadata.reading() as connection:
            spent = find_spent(connection, table)
        total = None if policy is None else policy.privacy_budget
        if total is None and not spent:
            return None
        return PrivacyBudget(total_millionths=millionths(total or 0), spent_millionths=spent)

    def catalogue(self, table: StoredTable, analyst: str | None) -> TableDescription | None:
        """Describe a table to an analyst: without its policy, and with the columns that may leave.

        None when the policy lets other analysts ask, and not this one; or when what is stored of
        it was tampered with.
        """
        try:
            policy = self._policies.of(table)
        except PolicyTampered:
            return None
        if not _may_ask(policy, analyst):
            return None
        whole, allowed = self.describe(table), policy.columns
        columns = [each for each in whole.columns if allowed is None or each.name in allowed]
        return whole.model_copy(update={"columns": columns, "policy": None, "privacy": None})


def _shared(
    version: Version, *, before: StoredTable | None, policy: Policy
) -> dict[str, str | int | None]:
    return {
        "table": version.table_name,
        "version": version.version,
        "replaces": before.current.version if before else None,
        "rows": version.rows,
        "sealed_bytes": version.sealed_bytes,
        "policy": policy.digest,
    }


def _may_ask(policy: Policy, analyst: str | None) -> bool:
    return policy.analysts is None or analyst in policy.analysts


def _check_schema(manifest: Manifest) -> None:
    if not normalise_schema(manifest.schema).equals(manifest.schema, check_metadata=True):
        raise Malformed("the manifest's schema is not in the form of docs/protocol.md §4.4")


def _check_size(size: int, left_bytes: int) -> None:
    if size > _MOST_OBJECT_BYTES:
        raise TooLarge(
            f"one object holds more than {_MOST_OBJECT_BYTES >> 20} MiB",
            hint="seal smaller row groups",
        )
    if size > left_bytes:
        raise TooLarge(
            "the upload exceeds the server's size limit",
            hint="the operator can raise max_upload_bytes",
        )
