"""Uploads: an Arrow stream comes in, sealed row groups go to disk, a version appears or nothing."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections import OrderedDict
from collections.abc import AsyncIterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from clf_sdk import Policy
from clf_sdk.errors import ClfError, DeadlineExceeded, Malformed, NotFound
from clf_sdk.protocol import ColumnDescription, TableDescription, digest
from clf_sdk.sealed import TableSealer, as_record_batches, describe_schema
from clf_server._body import BodyStream
from clf_server._metadata import StoredTable, Version
from clf_server._state import ServerState
from clf_server._vault import MANIFEST_NAME, Vault

_MOST_ANNOUNCED = 1000
_MOST_AT_ONCE = 4
_PIECE_BYTES = 1 << 20
_STALL_SECONDS = 120


@dataclass(frozen=True)
class Announcement:
    """An upload that was announced and has not begun."""

    table: str
    policy: Policy
    before: StoredTable | None


async def _feed(body: BodyStream, chunks: AsyncIterable[bytes]) -> None:
    """Hand a request's body on in pieces that are worth waking a thread for."""
    loop = asyncio.get_running_loop()
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(_STALL_SECONDS) as deadline:
            async for chunk in chunks:
                pieces.append(chunk)
                size += len(chunk)
                if size >= _PIECE_BYTES:
                    await body.feed(pieces)
                    pieces, size = [], 0
                    deadline.reschedule(loop.time() + _STALL_SECONDS)
            await body.feed(pieces)
    except TimeoutError as error:
        raise DeadlineExceeded(
            f"the upload made no progress for {_STALL_SECONDS} seconds",
            hint="nothing was published; share it again",
        ) from error


def _not_arrow() -> Malformed:
    return Malformed(
        "the body is not a complete Arrow IPC stream",
        hint="write it with an Arrow stream writer and close the writer",
    )


class Uploads:
    """Announced and running uploads of one server."""

    def __init__(self, state: ServerState, vault: Vault) -> None:
        self._state = state
        self._vault = vault
        self._announced: OrderedDict[str, Announcement] = OrderedDict()
        self._lock = threading.Lock()
        self._places = asyncio.Semaphore(_MOST_AT_ONCE)

    def announce(self, table: str, policy: Policy) -> str:
        """Begin an upload, and return its id."""
        upload = secrets.token_hex(16)
        before = self._state.metadata.find_table(table)
        with self._lock:
            self._announced[upload] = Announcement(table, policy, before)
            while len(self._announced) > _MOST_ANNOUNCED:
                self._announced.popitem(last=False)
        return upload

    async def receive(self, upload: str, chunks: AsyncIterable[bytes]) -> TableDescription:
        """Seal an Arrow stream while it arrives, and publish it when it is complete.

        Raises
        ------
        NotFound
            The upload was not announced, or was used.
        Malformed
            The body is not one complete Arrow stream.
        Conflict
            Another upload of the same table finished first.
        """
        with self._lock:
            announced = self._announced.pop(upload, None)
        if announced is None:
            raise NotFound(
                "there is no such upload", hint="announce it again; each id is used once"
            )
        async with self._places:
            body = BodyStream(self._state.config.max_upload_bytes)
            sealing = asyncio.create_task(asyncio.to_thread(self._seal, announced, body))
            try:
                await _feed(body, chunks)
                body.end()
            except BaseException as error:
                # The sealing thread must see the end before this request is gone.
                body.end(error)
                await asyncio.wait([sealing])
                sealing.exception()
                raise
            return await sealing

    def _seal(self, announced: Announcement, body: BodyStream) -> TableDescription:
        try:
            return self._seal_stream(announced, body)
        except (pa.ArrowException, pa.ArrowKeyError) as error:
            raise _not_arrow() from error
        except OSError as error:
            # Arrow reports a stream that ends too early as an OSError without a number.
            if isinstance(error, ClfError) or error.errno is not None:
                raise
            raise _not_arrow() from error
        finally:
            body.abandon()

    def _seal_stream(self, announced: Announcement, body: BodyStream) -> TableDescription:
        state, name, before = self._state, announced.table, announced.before
        version_id = secrets.token_hex(16)
        table_key = self._vault.new_key()
        content_key = self._vault.content_key(before) if before else self._vault.new_key()
        batches = as_record_batches(pa.ipc.open_stream(body))
        sealer = TableSealer(
            table=name,
            schema=batches.schema,
            table_key=table_key,
            version_id=version_id,
            content_key=content_key,
        )
        with state.objects.writer(version_id) as writer:
            for number, batch in enumerate(batches):
                writer.write(str(number), sealer.seal(batch))
            body.check_complete()
            sealed = sealer.finish()
            content_digest = sealer.content_digest or ""
            policy = announced.policy.to_json()
            if before is not None and before.current.content_digest == content_digest:
                self._change_policy(before, policy)
                return self.describe(state.metadata.table(name), unchanged=True)
            writer.write(MANIFEST_NAME, sealed.sealed)
            writer.commit()
            manifest = sealed.manifest
            version = Version(
                version_id=version_id,
                table_name=name,
                version=sealed.version,
                table_key=self._vault.wrap_table_key(table_key, table=name, version_id=version_id),
                content_digest=content_digest,
                rows=manifest.rows,
                row_groups=len(manifest.row_groups),
                manifest_bytes=len(sealed.sealed),
                sealed_bytes=sum(group.bytes for group in manifest.row_groups) + len(sealed.sealed),
                created_at=state.now(),
            )
            try:
                with state.metadata.transaction() as connection:
                    state.metadata.publish(
                        connection,
                        version,
                        policy=policy,
                        content_key=before.content_key
                        if before
                        else self._vault.wrap_content_key(content_key, table=name),
                        replaces=before.current.version_id if before else None,
                    )
                    shared = {
                        "table": name,
                        "version": version.version,
                        "replaces": before.current.version if before else None,
                        "rows": version.rows,
                        "sealed_bytes": version.sealed_bytes,
                        "policy": digest(policy),
                    }
                    state.audit.append("table.shared", shared, connection=connection)
            except BaseException:
                state.objects.delete(version_id)
                raise
        if before is not None:
            state.objects.delete(before.current.version_id)
        return self.describe(state.metadata.table(name))

    def _change_policy(self, before: StoredTable, policy: dict[str, Any]) -> None:
        """Give a table whose content stays another policy, or the same one."""
        metadata, version = self._state.metadata, before.current
        with metadata.transaction() as connection:
            metadata.set_policy(connection, before.name, policy, version_id=version.version_id)
            if policy != before.policy:
                changed = {
                    "table": before.name,
                    "version": version.version,
                    "policy": digest(policy),
                    "before": digest(before.policy),
                }
                self._state.audit.append("policy.changed", changed, connection=connection)

    def describe(
        self, table: StoredTable, *, unchanged: bool = False, with_policy: bool = True
    ) -> TableDescription:
        """Describe a table; its columns are read from the sealed manifest."""
        version = table.current
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
            policy=table.policy if with_policy else None,
            unchanged=unchanged,
        )
