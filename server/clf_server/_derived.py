"""Derived versions: the rows that a filter lets out, sealed for those columns (§8.2).

What a row filter keeps back must not leave in any form, so it is not in what is sealed for the
grant: the table's version is opened row group by row group, filtered, and sealed again under a key
of its own. Nothing plain touches the disk, and memory is a few row groups.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotDone
from typing import TYPE_CHECKING

import pyarrow as pa
import sqlalchemy as sa

from clf_sdk.errors import NotReady, StorageUnavailable
from clf_sdk.protocol import digest
from clf_sdk.sealed import TARGET_BYTES, RecordBatches, TableSealer, iter_batches
from clf_server._metadata import StoredTable, Version
from clf_server._state import ServerState
from clf_server._tickets import LIFETIME_SECONDS as TICKET_SECONDS
from clf_server._vault import MANIFEST_NAME, Vault

if TYPE_CHECKING:
    from clf_sdk.filters import FilterRun, RowFilter

_MOST_AT_ONCE = 2
_MOST_KEPT = 32
_PATIENCE_SECONDS = 20.0


class DerivedVersions:
    """Derives versions when sessions need them, and keeps them until table or policy change.

    Parameters
    ----------
    state, vault
        The server's.
    patience_seconds
        How long a session waits before it is told to come again.
    """

    def __init__(
        self, state: ServerState, vault: Vault, *, patience_seconds: float = _PATIENCE_SECONDS
    ) -> None:
        self._state = state
        self._vault = vault
        self._patience_seconds = patience_seconds
        self._executor = ThreadPoolExecutor(_MOST_AT_ONCE, thread_name_prefix="derive")
        self._lock = threading.Lock()
        self._running: dict[tuple[str, str], Future[Version]] = {}
        self._used: dict[str, float] = {}  # tickets die with the process, so this may too

    def version(self, table: StoredTable, row_filter: RowFilter, columns: Sequence[str]) -> Version:
        """Return the version of a table that holds only some rows and columns.

        Parameters
        ----------
        table
            The table and its current version.
        row_filter
            Which rows.
        columns
            Which columns; their order does not matter.

        Raises
        ------
        NotReady
            It is being made; ask again.
        InvalidFilter
            The filter can't be computed on the table.
        Conflict
            The table or its policy changed meanwhile.
        StorageFull
            There is no space for it.
        """
        source = table.current
        derivation = digest({"rows": row_filter.canonical, "columns": sorted(columns)})
        key = (source.version_id, derivation)
        with self._lock:
            making = self._running.get(key)
            if making is None:
                kept = self._state.metadata.derived(source.version_id)
                for version in kept:
                    if version.derivation == derivation:
                        self._used[version.version_id] = self._state.monotonic()
                        return version
                self._make_room(kept)
                making = self._executor.submit(self._derive, table, row_filter, columns, derivation)
                self._running[key] = making
                self._state.metrics.derivation_began()
                making.add_done_callback(lambda _: self._ended(key))
        try:
            version = making.result(timeout=self._patience_seconds)
        except NotDone:
            raise _not_ready() from None
        with self._lock:
            self._used[version.version_id] = self._state.monotonic()
        return version

    def _ended(self, key: tuple[str, str]) -> None:
        self._running.pop(key, None)
        self._state.metrics.derivation_ended()

    def _make_room(self, kept: Sequence[Version]) -> None:
        """Remove what was used longest ago, so that few are kept; nothing that may be pulled."""
        dead_since = self._state.monotonic() - TICKET_SECONDS
        self._used = {name: used for name, used in self._used.items() if used > dead_since}
        by_use = sorted(kept, key=lambda version: self._used.get(version.version_id, dead_since))
        pulled = self._state.tickets.opening(version.version_id for version in kept)
        for version in by_use[: max(0, len(kept) - _MOST_KEPT + 1)]:
            if version.version_id in self._used or version.version_id in pulled:
                raise _not_ready()
            with self._state.metadata.transaction() as connection:
                gone = self._state.metadata.remove_derived(connection, version.version_id)
            for version_id in gone:
                self._state.objects.delete(version_id)

    def _derive(
        self, table: StoredTable, row_filter: RowFilter, columns: Sequence[str], derivation: str
    ) -> Version:
        # A parser and a database, which a server without row filters starts faster without.
        from clf_sdk.filters import FilterRun  # noqa: PLC0415 - see above

        state, vault, source = self._state, self._vault, table.current
        manifest = vault.manifest(source)
        chosen = [name for name in manifest.schema.names if name in set(columns)]
        needed = [name for name in manifest.schema.names if name in {*chosen, *row_filter.columns}]
        schema = pa.schema([manifest.schema.field(name) for name in chosen])
        batches = iter_batches(
            manifest,
            vault.release(source, needed).columns,
            lambda name, start, stop: state.objects.read_range(
                source.version_id, name, start, stop
            ),
            needed,
        )
        version_id, table_key = secrets.token_hex(16), vault.new_key()
        sealer = TableSealer(
            table=table.name, schema=schema, table_key=table_key, version_id=version_id
        )
        with state.objects.writer(version_id) as writer:
            filtered_schema = pa.schema([manifest.schema.field(name) for name in needed])
            with FilterRun(row_filter, filtered_schema) as run:
                kept = self._kept(run, batches, chosen)
                for number, batch in enumerate(RecordBatches(schema, kept, TARGET_BYTES)):
                    writer.write(str(number), sealer.seal(number, batch))
            sealed = sealer.finish()
            writer.write(MANIFEST_NAME, sealed.sealed)
            writer.commit()
            made = Version(
                version_id=version_id,
                table_name=table.name,
                version=sealed.version,
                table_key="",
                rows=sealed.manifest.rows,
                row_groups=len(sealed.manifest.row_groups),
                manifest_bytes=len(sealed.sealed),
                sealed_bytes=sealed.manifest.sealed_bytes + len(sealed.sealed),
                created_at=state.now(),
                derived_from=source.version_id,
                derivation=derivation,
            )
            version = vault.with_key(made, table_key)

            def store(connection: sa.Connection, stored: Version) -> Version:
                known = state.metadata.find_derived(connection, source.version_id, derivation)
                if known is None:
                    state.metadata.add_derived(connection, stored, table)
                return known or stored

            try:
                stored = vault.storing(version, table_key, store)
            except StorageUnavailable:
                raise  # it may be known: nobody deletes what the database may name
            except BaseException:
                state.objects.delete(version_id)
                raise
        if stored.version_id != version_id:  # another replica was faster
            state.objects.delete(version_id)
        return stored

    def _kept(
        self, run: FilterRun, batches: Iterator[pa.RecordBatch], columns: list[str]
    ) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if self._state.stopping.is_set():
                raise _not_ready()
            yield run.keep(batch).select(columns)


def _not_ready() -> NotReady:
    return NotReady(
        "the rows that may leave are still being sealed", hint="open a session again in a while"
    )
