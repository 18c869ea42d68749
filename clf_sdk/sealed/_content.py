"""Digests of rows, however they are cut: do two uploads hold the same? (docs/protocol.md §11.7)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
from blake3 import blake3
from cryptography.hazmat.primitives import hashes, hmac
from pyarrow import types

from clf_sdk.protocol import canonical_json
from clf_sdk.sealed._clean import clean_array

_BYTE = 8


def content_tag(content_key: bytes, *, table: str, content: str) -> str:
    """Authenticate a digest of content, so that it tells nothing to who lacks the key; hex.

    Parameters
    ----------
    content_key
        Of the version that holds the content, 32 bytes.
    table
        Name of the table.
    content
        From `ContentDigest.hexdigest`.
    """
    mac = hmac.HMAC(content_key, hashes.SHA256())
    tagged = {"clf": 1, "type": "table-content", "table": table, "content": content}
    mac.update(canonical_json(tagged))
    return mac.finalize().hex()


class ContentDigest:
    """Digest of a table as it is stored: the same for the same rows, whatever the row groups are.

    Only a dictionary column counts row group by row group, for each has a dictionary of its own.
    Values are compared by their bits: two NaN that differ there are different, and so are 0 and -0.

    Parameters
    ----------
    schema
        As `normalise_schema` returns it.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._columns = [_column(field) for field in schema]
        self._rows = 0

    def watch(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield normalised batches as they are, and take them in."""
        for batch in batches:
            self._rows += batch.num_rows
            for column, array in zip(self._columns, batch.columns, strict=True):
                column.add(array)
            yield batch

    def hexdigest(self, beside: bytes | None = None) -> str:
        """Return the digest of all rows, when they were taken in.

        Parameters
        ----------
        beside
            What is published beside the rows.
        """
        digest = blake3(blake3(self._schema.serialize().to_pybytes()).digest())
        digest.update(self._rows.to_bytes(_BYTE, "little"))
        for column in self._columns:
            digest.update(column.digest())
        if beside is not None:
            digest.update(blake3(beside).digest())
        return str(digest.hexdigest())


class _Column(Protocol):
    """The digest of a column, or of a part of one; its parts are fixed by the column's type."""

    def add(self, array: pa.Array) -> None:
        """Take in rows, as `clean_array` returns them: buffers hold them and nothing else."""

    def digest(self) -> bytes:
        """Return 32 bytes."""


class _Bits:
    """Bits of booleans without nulls; a batch may end within a byte."""

    def __init__(self) -> None:
        self._hash = blake3()
        self._rest = pa.array([], pa.bool_())

    def add(self, array: pa.Array) -> None:
        bits = pa.concat_arrays([self._rest, array])
        whole = len(bits) // _BYTE
        self._hash.update(_buffer(bits, 1)[:whole])
        self._rest = pa.array(bits.slice(whole * _BYTE).to_pylist(), pa.bool_())

    def digest(self) -> bytes:
        ends = sum(bit << place for place, bit in enumerate(self._rest.to_pylist()))
        return bytes(blake3(self._hash.digest() + bytes([ends])).digest())


class _Bytes:
    """Buffers, one behind the other."""

    def __init__(self, buffer: int) -> None:
        self._hash = blake3()
        self._buffer = buffer

    def add(self, array: pa.Array) -> None:
        self._hash.update(_buffer(array, self._buffer))

    def digest(self) -> bytes:
        return bytes(self._hash.digest())


class _Lengths:
    """Lengths of texts or lists; their offsets begin anew with each batch."""

    def __init__(self, *, large: bool) -> None:
        self._hash = blake3()
        self._type = pa.int64() if large else pa.int32()

    def add(self, array: pa.Array) -> None:
        if not len(array):
            return
        buffers = [None, array.buffers()[1]]
        offsets = pa.Array.from_buffers(self._type, len(array) + 1, buffers)
        lengths = pc.subtract(offsets.slice(1), offsets.slice(0, len(array)))
        self._hash.update(_buffer(lengths, 1)[: len(lengths) * self._type.byte_width])

    def digest(self) -> bytes:
        return bytes(self._hash.digest())


class _Dictionary:
    """Values as rows show them first, or in the order of the levels, and which row has which."""

    def __init__(self, type_: pa.DataType) -> None:
        self._hash = blake3()
        self._type = type_

    def add(self, array: pa.Array) -> None:
        values, indices = array.dictionary, array.indices
        if not self._type.ordered:
            shown = pc.unique(indices.drop_null())
            values = values.take(shown)
            indices = pc.index_in(indices, value_set=shown).cast(self._type.index_type)
        known = _column(pa.field("", self._type.value_type, nullable=False))
        known.add(clean_array(values))
        for number in (len(array), len(values)):
            self._hash.update(number.to_bytes(_BYTE, "little"))
        self._hash.update(known.digest())
        self._hash.update(_buffer(clean_array(indices), 1))

    def digest(self) -> bytes:
        return bytes(self._hash.digest())


class _Nested:
    """Parts, of which each is taken from a batch in its own way."""

    def __init__(self, *parts: tuple[_Column, Any]) -> None:
        self._parts = parts

    def add(self, array: pa.Array) -> None:
        for column, take in self._parts:
            column.add(take(array))

    def digest(self) -> bytes:
        return bytes(blake3(b"".join(column.digest() for column, _ in self._parts)).digest())


def _buffer(array: pa.Array, number: int) -> memoryview:
    buffer = array.buffers()[number]
    return memoryview(b"" if buffer is None else buffer)


def _same(array: pa.Array) -> pa.Array:
    return array


def _bits(array: pa.Array) -> pa.Array:
    """Return booleans without their nulls, beneath which lie zeros."""
    return pa.Array.from_buffers(pa.bool_(), len(array), [None, array.buffers()[1]])


def _column(field: pa.Field) -> _Column:
    valid = [(_Bits(), pc.is_valid)] if field.nullable else []
    return _Nested(*valid, *_parts(field.type))


def _parts(type_: pa.DataType) -> list[tuple[_Column, Any]]:
    if types.is_null(type_):
        return []
    if types.is_dictionary(type_):
        return [(_Dictionary(type_), _same)]
    children = _children(type_)
    if _has_lengths(type_):
        large = types.is_large_list(type_) or types.is_large_string(type_)
        lengths = _Lengths(large=large or types.is_large_binary(type_))
        return [(lengths, _same), *(children or [(_Bytes(2), _same)])]
    if types.is_struct(type_) or types.is_fixed_size_list(type_):
        return children
    return [(_Bits(), _bits) if types.is_boolean(type_) else (_Bytes(1), _same)]


def _has_lengths(type_: pa.DataType) -> bool:
    return bool(
        types.is_list(type_)
        or types.is_large_list(type_)
        or types.is_map(type_)
        or types.is_string(type_)
        or types.is_large_string(type_)
        or types.is_binary(type_)
        or types.is_large_binary(type_)
    )


def _children(type_: pa.DataType) -> list[tuple[_Column, Any]]:
    if types.is_map(type_):
        return [
            (_column(type_.key_field), lambda array: array.keys),
            (_column(type_.item_field), lambda array: array.items),
        ]
    if types.is_struct(type_):
        return [
            (_column(type_.field(number)), lambda array, number=number: array.field(number))
            for number in range(type_.num_fields)
        ]
    if types.is_nested(type_):
        return [(_column(type_.value_field), lambda array: array.values)]
    return []
