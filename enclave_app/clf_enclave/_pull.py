"""Pull sealed tables into the enclave: parallel ranges, one reused buffer a thread."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from functools import cached_property
from queue import Empty, SimpleQueue

import pyarrow as pa

from clf_enclave._session import OpenSession
from clf_enclave._spill import Stream
from clf_enclave._transport import Channel
from clf_sdk.errors import BindingMismatch, SealBroken, TicketRefused
from clf_sdk.protocol import GrantedInput
from clf_sdk.sealed import Manifest, RowGroupReader, open_manifest

_MOST_WORKERS = 4
_MOST_RENEWALS = 1000
_TELL_SECONDS = 0.5
_AHEAD = 2  # row groups that are pulled while one is used


class TablePull:
    """One input on its way into the enclave.

    Parameters
    ----------
    name
        Name of the input in the job.
    session
        The session that granted it.
    renew
        Opens another session with the same server, when tickets expire.
    progress
        Called with the sealed bytes that have come and their total, about twice a second.
    """

    def __init__(
        self,
        name: str,
        session: OpenSession,
        renew: Callable[[], OpenSession],
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self._name = name
        self._session = session
        self._renew = renew
        self._renewals = 0
        self._lock = threading.Lock()
        self._granted = self._input(session)
        self._progress = progress
        self._total_bytes = 0
        self._told_at = time.monotonic()
        self.pulled_bytes = 0

    def _input(self, session: OpenSession) -> GrantedInput:
        return next(entry for entry in session.session.inputs if entry.name == self._name)

    def _channel(self, session: OpenSession) -> Channel:
        url = session.access.blobs.url
        if url is None:
            return Channel(session.endpoint.url, ca=session.endpoint.ca)
        return Channel(url, ca=None)

    def _next_session(self, refused: OpenSession) -> OpenSession:
        """Return a session younger than the one whose ticket was refused."""
        with self._lock:
            if self._session is refused:
                self._renewals += 1
                if self._renewals > _MOST_RENEWALS:
                    raise TicketRefused("the server refuses every ticket that it gives out")
                session = self._renew()
                if self._input(session) != self._granted:
                    raise BindingMismatch(
                        f"input {self._name!r} changed while it was pulled",
                        hint="the owner shared it anew; run the job again",
                    )
                self._session = session
            return self._session

    def _sealed_manifest(self) -> bytes:
        granted = self._granted
        buffer = memoryview(bytearray(granted.manifest_bytes))
        path = f"/v1/blobs/{granted.version_id}/manifest"
        session = self._session
        while True:
            try:
                with self._channel(session) as channel:
                    ticket = session.access.blobs.ticket
                    response = channel.open_range(path, ticket, 0, len(buffer))
                    channel.read_into(response, buffer)
                return bytes(buffer)
            except TicketRefused:
                # The inputs before this one took longer than its tickets live.
                session = self._next_session(session)

    def _manifest(self) -> Manifest:
        granted = self._granted
        return open_manifest(
            self._sealed_manifest(),
            manifest_key=self._session.keys[self._name].manifest_key,
            table=granted.table,
            version_id=granted.version_id,
            expected_version=granted.version,
        )

    @cached_property
    def manifest(self) -> Manifest:
        """What there is to pull."""
        return self._manifest()

    def granted_bytes(self) -> int:
        """Ciphertext of the granted columns, in bytes: about as much as they take in memory."""
        reader = RowGroupReader(self.manifest, self._session.keys[self._name].columns)
        return sum(
            wanted.stop - wanted.start
            for number in range(len(self.manifest.row_groups))
            for wanted in reader.ranges(number, self._granted.released)
        )

    def stream(self) -> PulledStream:
        """Return the granted columns as a stream that pulls them anew each time it is read."""
        reader = RowGroupReader(self.manifest, self._session.keys[self._name].columns)
        return PulledStream(self, reader.schema_of(self._granted.released), self.manifest.rows)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Pull the granted columns row group by row group, the next ones while one is used.

        Raises
        ------
        SealBroken
            What arrived is not what the manifest names.
        TransportError
            The server went away.
        """
        reader = RowGroupReader(self.manifest, self._session.keys[self._name].columns)
        schema = reader.schema_of(self._granted.released)
        self._total_bytes += self.granted_bytes()  # each reading pulls all of them again
        ahead: deque[Future[dict[str, pa.Array]]] = deque()
        with ThreadPoolExecutor(_AHEAD, thread_name_prefix="pull") as pool:
            try:
                for number in range(len(self.manifest.row_groups)):
                    ahead.append(pool.submit(self._group, reader, number))
                    if len(ahead) > _AHEAD:
                        yield _batch(ahead.popleft().result(), schema)
                while ahead:
                    yield _batch(ahead.popleft().result(), schema)
            finally:
                for future in ahead:
                    future.cancel()

    def row_group(self, number: int) -> dict[str, pa.Array]:
        """Pull, check, decrypt and validate the granted columns of one row group.

        Raises
        ------
        SealBroken
            What arrived is not what the manifest names.
        TransportError
            The server went away.
        """
        return self._group(
            RowGroupReader(self.manifest, self._session.keys[self._name].columns), number
        )

    def _group(self, reader: RowGroupReader, number: int) -> dict[str, pa.Array]:
        opened: dict[str, pa.Array] = {}
        session = self._session
        while True:
            with self._channel(session) as channel:
                try:
                    self._pull_group(channel, session, reader, number, opened, bytearray())
                except TicketRefused:
                    session = self._next_session(session)
                else:
                    return opened

    def table(self) -> pa.Table:
        """Pull, check, decrypt and validate the granted columns.

        Raises
        ------
        SealBroken
            What arrived is not what the manifest names.
        TransportError
            The server went away.
        """
        manifest = self.manifest
        reader = RowGroupReader(manifest, self._session.keys[self._name].columns)
        columns = self._granted.released
        schema = reader.schema_of(columns)
        self._total_bytes += self.granted_bytes()
        numbers: SimpleQueue[int] = SimpleQueue()
        for number in range(len(manifest.row_groups)):
            numbers.put(number)
        opened: list[dict[str, pa.Array]] = [{} for _ in manifest.row_groups]
        if columns and manifest.row_groups:
            # One more than cores: while one waits for bytes, the others open theirs.
            count = min(_MOST_WORKERS, (os.cpu_count() or 1) + 1, len(manifest.row_groups))
            self._work(lambda: self._worker(reader, numbers, opened), count)
        if not columns:
            return _rows_only(manifest.rows)
        return pa.Table.from_arrays(
            [
                pa.chunked_array([group[field.name] for group in opened], type=field.type)
                for field in schema
            ],
            schema=schema,
        )

    @staticmethod
    def _work(work: Callable[[], None], count: int) -> None:
        with ThreadPoolExecutor(count, thread_name_prefix="pull") as pool:
            futures = [pool.submit(work) for _ in range(count)]
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()

    def _worker(
        self, reader: RowGroupReader, numbers: SimpleQueue[int], opened: list[dict[str, pa.Array]]
    ) -> None:
        buffer = bytearray()
        session = self._session
        channel = self._channel(session)
        try:
            while True:
                try:
                    number = numbers.get_nowait()
                except Empty:
                    return
                while True:
                    try:
                        self._pull_group(channel, session, reader, number, opened[number], buffer)
                        break
                    except TicketRefused:
                        channel.close()
                        session = self._next_session(session)
                        channel = self._channel(session)
        except BaseException:
            _drain(numbers)
            raise
        finally:
            channel.close()

    def _pull_group(
        self,
        channel: Channel,
        session: OpenSession,
        reader: RowGroupReader,
        number: int,
        opened: dict[str, pa.Array],
        buffer: bytearray,
    ) -> None:
        """Pull one row group, segment by segment, through one buffer."""
        path = f"/v1/blobs/{self._granted.version_id}/{number}"
        area = reader.area(number, self._granted.released)
        for wanted in reader.ranges(number, self._granted.released):
            ticket = session.access.blobs.ticket
            response = channel.open_range(path, ticket, wanted.start, wanted.stop)
            position = 0
            for part in wanted.parts:
                gap = part.offset - position
                needed = max(gap, part.length)
                if len(buffer) < needed:
                    buffer.extend(bytes(needed - len(buffer)))
                with memoryview(buffer) as view:
                    channel.read_into(response, view[:gap])
                    channel.read_into(response, view[: part.length])
                    opened[part.column] = reader.open(
                        number, part.column, view[: part.length], area
                    )
                position = part.offset + part.length
            response.read()
            self._count(wanted.stop - wanted.start)

    def _count(self, pulled: int) -> None:
        """Count bytes, and tell of them now and then; the host sees them pass anyway."""
        with self._lock:
            self.pulled_bytes += pulled
            now = time.monotonic()
            if self._progress is not None and now - self._told_at >= _TELL_SECONDS:
                self._told_at = now
                self._progress(self.pulled_bytes, self._total_bytes)


class PulledStream(Stream):
    """The granted columns of one input; dictionaries come as what they stand for."""

    def __init__(self, pull: TablePull, schema: pa.Schema, rows: int) -> None:
        self._pull = pull
        self.schema = pa.schema([field.with_type(_plain(field.type)) for field in schema])
        self.rows = rows

    def batches(self) -> Iterator[pa.RecordBatch]:
        """See `Stream.batches`."""
        for batch in self._pull.batches():
            yield batch.cast(self.schema)


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _batch(opened: dict[str, pa.Array], schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([opened[name] for name in schema.names], schema=schema)


def _drain(numbers: SimpleQueue[int]) -> None:
    """Leave nothing for the other workers to do."""
    while True:
        try:
            numbers.get_nowait()
        except Empty:
            return


def _rows_only(rows: int) -> pa.Table:
    """Return a table of no columns that keeps its row count."""
    empty = pa.table({"_": pa.nulls(rows)})
    table = empty.select([])
    if table.num_rows != rows:
        raise SealBroken("a table without columns lost its row count")
    return table
