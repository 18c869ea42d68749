"""Decode the one-column Arrow IPC stream of a segment without trusting who wrote it.

An authentic segment was written by a holder of the table key, who may still be hostile. Arrow's
reader checks that the messages are well-formed, not what they mean; compressed buffers, which could
unfold to any size, are refused before it sees them.
"""

from __future__ import annotations

import struct

import pyarrow as pa
from pyarrow import types

from clf_sdk.errors import SealBroken

# Message.fbs and Schema.fbs of Apache Arrow, positions of fields in their tables.
_MESSAGE_HEADER = 2
_DICTIONARY_DATA = 1
_BATCH_COMPRESSION = 3
_VTABLE_HEAD_BYTES = 4


def _field(message: memoryview, table: int, index: int) -> int:
    """Absolute position of a field of a flatbuffer table, or 0 if the table lacks it."""
    vtable = table - int(struct.unpack_from("<i", message, table)[0])
    if vtable < 0:
        raise struct.error("a vtable before the message")
    (size,) = struct.unpack_from("<H", message, vtable)
    position = _VTABLE_HEAD_BYTES + 2 * index
    if position + 2 > size:
        return 0
    (offset,) = struct.unpack_from("<H", message, vtable + position)
    return table + int(offset) if offset else 0


def _follow(message: memoryview, position: int) -> int:
    if not position:
        raise struct.error("a table that is missing")
    return position + int(struct.unpack_from("<I", message, position)[0])


def _is_compressed(message: memoryview, kind: str) -> bool:
    table = _follow(message, _field(message, _follow_root(message), _MESSAGE_HEADER))
    if kind == "dictionary":
        table = _follow(message, _field(message, table, _DICTIONARY_DATA))
    return _field(message, table, _BATCH_COMPRESSION) != 0


def _follow_root(message: memoryview) -> int:
    return int(struct.unpack_from("<I", message, 0)[0])


def _check_messages(stream: pa.Buffer, expected: list[str]) -> None:
    source = pa.BufferReader(stream)
    reader = pa.ipc.MessageReader.open_stream(source)
    kinds = []
    for message in reader:
        kinds.append(message.type)
        if len(kinds) > len(expected):
            break
        if message.type != "schema" and _is_compressed(
            memoryview(message.metadata).cast("B"), message.type
        ):
            raise SealBroken("a segment holds compressed buffers")
    if kinds != expected or source.tell() != stream.size:
        raise SealBroken("a segment holds other messages than one column of one row group")


def decode_column(stream: pa.Buffer, field: pa.Field, rows: int) -> pa.Array:
    """Decode and fully validate one column; zero-copy.

    Parameters
    ----------
    stream
        An Arrow IPC stream: schema, the dictionary if there is one, one record batch, end.
    field
        The column as the manifest has it.
    rows
        Number of rows that the manifest gives its row group.

    Raises
    ------
    SealBroken
        Anything else than exactly that.
    """
    expected = ["schema", "record batch"]
    if types.is_dictionary(field.type):
        expected.insert(1, "dictionary")
    try:
        _check_messages(stream, expected)
        batch = pa.ipc.open_stream(stream).read_next_batch()
        if not batch.schema.equals(pa.schema([field]), check_metadata=True):
            raise SealBroken("a segment holds another column than the manifest says")
        if batch.num_rows != rows:
            raise SealBroken("a segment holds another number of rows than the manifest says")
        batch.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, StopIteration, struct.error) as error:
        if isinstance(error, SealBroken):
            raise
        # Arrow's messages may quote values.
        raise SealBroken("a segment does not hold valid Arrow data") from None
    return batch.column(0)
