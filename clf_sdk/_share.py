"""``share()``: publish a data frame or a file through an owner's server, sealed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from concurrent.futures import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    Future,
    ThreadPoolExecutor,
    wait,
)
from pathlib import Path
from typing import Any

import pyarrow as pa
from tqdm.auto import tqdm

from clf_sdk._connection import Connection, connect, only_connection
from clf_sdk._mock_document import mock_to_document
from clf_sdk._table import SharedTable
from clf_sdk.errors import ClfError, ConfigurationError
from clf_sdk.keys import derive_content_key
from clf_sdk.policy import Policy
from clf_sdk.protocol import (
    MOCK,
    Profile,
    TableDescription,
    UploadCommit,
    UploadRequest,
    UploadTicket,
    canonical_json,
    check_name,
)
from clf_sdk.sealed import (
    ContentDigest,
    TableSealer,
    as_record_batches,
    content_tag,
    file_record_batches,
    seal_document,
)

_MOST_WORKERS = 4
_JSON = {"Content-Type": "application/json"}


class _Uploader:
    """Seals row groups and puts them, several at a time; memory is one batch for each worker.

    Parameters
    ----------
    connection
        To the owner's server.
    ticket
        What the server answered to the announcement.
    sealer
        For the table and the ticket's version and key.
    progress
        Bar that counts Arrow bytes.
    """

    def __init__(
        self, connection: Connection, ticket: UploadTicket, sealer: TableSealer, progress: tqdm[Any]
    ) -> None:
        self._http = connection.http
        self._ticket = ticket
        self._sealer = sealer
        self._progress = progress

    def _put(self, name: str, data: memoryview) -> None:
        ticket = self._ticket
        path = f"/v1/uploads/{ticket.upload}/{name}"
        self._http.put_object(path, data, url=ticket.url, ticket=ticket.ticket)

    def _seal_and_put(self, number: int, batch: pa.RecordBatch) -> int:
        self._put(str(number), self._sealer.seal(number, batch))
        return int(batch.nbytes)

    def put_all(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Seal and put all row groups."""
        count = min(_MOST_WORKERS, os.cpu_count() or 1)
        running: set[Future[int]] = set()
        with ThreadPoolExecutor(count, thread_name_prefix="share") as pool:
            try:
                for number, batch in enumerate(batches):
                    running.add(pool.submit(self._seal_and_put, number, batch))
                    if len(running) >= count:
                        running = self._collect(running, FIRST_COMPLETED)
                self._collect(running, ALL_COMPLETED)
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _collect(self, running: set[Future[int]], until: str) -> set[Future[int]]:
        done, left = wait(running, return_when=until)
        for future in done:
            self._progress.update(future.result())
        return left

    def put_mock(self, document: dict[str, Any]) -> None:
        """Seal and put the table's mock."""
        ticket = self._ticket
        sealed, _ = seal_document(
            document,
            output=MOCK,
            output_key=ticket.table_key,
            version_id=ticket.version_id,
        )
        self._put("document", memoryview(sealed))

    def commit(self, table: str, content: str) -> TableDescription:
        """Put the manifest, and have the server publish the table, unless it holds the same."""
        ticket, sealed = self._ticket, self._sealer.finish()
        self._put("manifest", memoryview(sealed.sealed))
        own_key = derive_content_key(ticket.table_key, ticket.version_id)
        own, same = (
            None if key is None else content_tag(key, table=table, content=content)
            for key in (own_key, ticket.content_key)
        )
        commit = UploadCommit(version=sealed.version, content=own, same_as=same)
        return self._http.ask(
            TableDescription,
            "POST",
            f"/v1/uploads/{ticket.upload}/commit",
            data=commit.canonical(),
            headers=_JSON,
        )

    def abandon(self) -> None:
        """Have the server forget what was put."""
        with contextlib.suppress(ClfError):  # then it forgets after two minutes
            self._http.send("DELETE", f"/v1/uploads/{self._ticket.upload}")


def _size(frame: Any, *, as_file: bool) -> int | None:
    if as_file:
        is_path = isinstance(frame, str | os.PathLike)
        return Path(frame).stat().st_size if is_path else memoryview(frame).nbytes
    size = getattr(frame, "nbytes", None)
    return size if isinstance(size, int) else None


def share(
    frame: Any,
    *,
    name: str,
    policy: Policy,
    to: Connection | Profile | str | os.PathLike[str] | None = None,
    widen: bool = False,
    index: bool = False,
    as_file: bool = False,
    mock: bool = False,
    progress: bool | None = None,
) -> SharedTable:
    """Publish a table, or a file, through an owner's server.

    It is sealed here, row group by row group, under a key that the server made for this version
    and keeps; what travels and what lies there is ciphertext. A table of the same name is
    replaced: the key of the old version is destroyed. If it holds the same already, its version
    stays, and the policy alone is set.

    Parameters
    ----------
    frame
        pandas data frame, Arrow table, batch or reader, anything with ``__arrow_c_stream__``, or
        the path of a Parquet or CSV file. It is not changed.
    name
        Name of the table: lower-case letters, digits, ``_``, ``-`` and ``.``.
    policy
        Which program may use the table, and for what.
    to
        Connection or profile of the owner's server; by default the only connection there is. If
        the connection expects a program of the server, it must prove itself first, each time.
    widen
        Whether the policy may allow more than the one that the table has now.
    index
        Whether the index of a pandas data frame is shared too.
    as_file
        Publish a file of any kind as it is, to the byte, instead of a table: ``frame`` is its path
        or its content. Sealed, granted and audited like a table, whose rows are its bytes; programs
        in the enclave read ranges of it.
    mock
        Whether analysts see made-up rows of the same schema (`SharedTable.mock`), for `dry_run`.
        They show round bounds of numbers, and values that at least ten rows have, or as many as the
        policy's smallest group; where the policy names an entity or rows, only types.
    progress
        Whether to show a progress bar; by default only on a terminal or in a notebook.

    Returns
    -------
    SharedTable
        The table as it lies on the server.

    Raises
    ------
    InvalidName, UnsupportedColumn
        The name or a column can't be stored.
    AttestationError, ServerIdentityMismatch
        The server did not prove to be what the connection expects; nothing was sent.
    TokenRefused
        The profile is not an owner's, or has expired.
    PolicyWidened
        The table has a tighter policy, and ``widen`` was not given.
    ConfigurationError, InvalidFilter
        The policy does not fit the table; the message names the column or the construct.
    Conflict
        Somebody else shared a table of this name at the same time.
    TransportError
        The connection broke; nothing was published.
    """
    check_name(name, what="a table")
    if not isinstance(policy, Policy):
        raise ConfigurationError("policy must be a clf.Policy")
    if as_file and mock:
        raise ConfigurationError("a file has no mock", hint="leave out mock or as_file")
    if as_file and index:
        raise ConfigurationError("a file has no index", hint="leave out index or as_file")
    batches = file_record_batches(frame) if as_file else as_record_batches(frame, index=index)
    policy.check_table(batches.schema)
    connection = to if isinstance(to, Connection) else connect(to) if to else only_connection()
    connection.attest()
    request = UploadRequest(table=name, policy=policy.to_json(), widen=widen)
    ticket = connection.http.ask(
        UploadTicket, "POST", "/v1/uploads", data=request.canonical(), headers=_JSON
    )
    sealer = TableSealer(
        table=name,
        schema=batches.schema,
        table_key=ticket.table_key,
        version_id=ticket.version_id,
    )
    with tqdm(
        total=_size(frame, as_file=as_file),
        unit="B",
        unit_scale=True,
        desc=f"share {name}",
        disable=None if progress is None else not progress,
    ) as bar:
        uploader = _Uploader(connection, ticket, sealer, bar)
        content, beside = ContentDigest(batches.schema), None
        watched = content.watch(batches)
        try:
            if mock:
                from clf_sdk._mock import MockMaker  # noqa: PLC0415 - needs numpy, others do not

                maker = MockMaker(batches.schema, policy)
                uploader.put_all(maker.watch(watched))
                document = mock_to_document(maker.table())
                uploader.put_mock(document)
                beside = canonical_json(document)
            else:
                uploader.put_all(watched)
            described = uploader.commit(name, content.hexdigest(beside))
        except BaseException:
            uploader.abandon()
            raise
    return SharedTable(connection, described)
