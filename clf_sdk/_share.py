"""``share()``: publish a data frame through an owner's server, sealed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from tqdm.auto import tqdm

from clf_sdk._connection import Connection, connect, only_connection
from clf_sdk._policy import Policy
from clf_sdk._table import SharedTable
from clf_sdk.errors import ConfigurationError
from clf_sdk.protocol import (
    Profile,
    TableDescription,
    UploadRequest,
    UploadTicket,
    check_name,
)
from clf_sdk.sealed import RecordBatches, as_record_batches

_PIECE_BYTES = 256 << 10  # each is copied once more on its way, which is cheap while it is small
_ARROW = "application/vnd.apache.arrow.stream"


class _Collector:
    """A file that keeps what an Arrow writer writes, without copying it."""

    def __init__(self) -> None:
        self.pieces: list[memoryview] = []
        self.closed = False

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self.pieces.append(view)
        return len(view)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        self.closed = True

    def take(self) -> Iterator[memoryview]:
        pieces, self.pieces = self.pieces, []
        for piece in pieces:
            for start in range(0, len(piece), _PIECE_BYTES):
                yield piece[start : start + _PIECE_BYTES]


def _arrow_stream(batches: RecordBatches, progress: tqdm[Any]) -> Iterator[memoryview]:
    """Write an Arrow IPC stream piece by piece, as the connection takes them."""
    collector = _Collector()
    file = pa.PythonFile(collector, mode="w")
    with pa.ipc.new_stream(file, batches.schema) as writer:
        yield from collector.take()
        for batch in batches:
            writer.write_batch(batch)
            yield from collector.take()
            progress.update(batch.nbytes)
    yield from collector.take()


def _size(frame: Any) -> int | None:
    size = getattr(frame, "nbytes", None)
    return size if isinstance(size, int) else None


def share(
    frame: Any,
    *,
    name: str,
    policy: Policy,
    to: Connection | Profile | str | os.PathLike[str] | None = None,
    index: bool = False,
    progress: bool | None = None,
) -> SharedTable:
    """Publish a table through an owner's server, which seals it while it arrives.

    Sharing the same content again returns the same version and only sets the policy. Other content
    of the same name replaces the table: the key of the old version is destroyed.

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
        Connection or profile of the owner's server; by default the only connection there is.
    index
        Whether the index of a pandas data frame is shared too.
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
    TokenRefused
        The profile is not an owner's, or has expired.
    Conflict
        Somebody else shared a table of this name at the same time.
    TransportError
        The connection broke; nothing was published.
    """
    check_name(name, what="a table")
    if not isinstance(policy, Policy):
        raise ConfigurationError("policy must be a clf.Policy")
    batches = as_record_batches(frame, index=index)
    connection = to if isinstance(to, Connection) else connect(to) if to else only_connection()
    request = UploadRequest(table=name, policy=policy.to_json())
    ticket = connection.http.ask(
        UploadTicket,
        "POST",
        "/v1/uploads",
        data=request.canonical(),
        headers={"Content-Type": "application/json"},
    )
    with tqdm(
        total=_size(frame),
        unit="B",
        unit_scale=True,
        desc=f"share {name}",
        disable=None if progress is None else not progress,
    ) as bar:
        described = connection.http.ask(
            TableDescription,
            "PUT",
            f"/v1/uploads/{ticket.upload}",
            data=_arrow_stream(batches, bar),
            headers={"Content-Type": _ARROW},
        )
    return SharedTable(connection, described)
