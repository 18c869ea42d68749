"""Nothing but the rows of a batch is written (docs/protocol.md §4.4).

Arrow arrays carry more than they show: a slice keeps its whole buffer (IPC cuts it only to a
multiple of 64 bytes), a null keeps the value beneath it, a bitmap keeps the bits after its last
row, and a dictionary keeps values that no row uses. Every array is therefore rebuilt from exact
slices of its buffers; what has to change is copied, the rest is not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

_BYTE = 8
_UNSIGNED = {8: pa.uint8(), 16: pa.uint16(), 32: pa.uint32(), 64: pa.uint64()}


def _clean_bits(bits: pa.Buffer, offset: int, length: int) -> pa.Buffer:
    """Bitmap of exactly `length` bits, the unused ones of its last byte zero."""
    size = -(-length // _BYTE)
    if offset % _BYTE == 0:
        exact = bits.slice(offset // _BYTE, size)
        if length % _BYTE == 0 or exact[size - 1] >> (length % _BYTE) == 0:
            return exact
    shifted = pa.Array.from_buffers(pa.bool_(), length, [None, bits], offset=offset)
    # Boolean kernels write a fresh bitmap that starts at bit 0 and ends in zero bits.
    return pc.invert(pc.invert(shifted)).buffers()[1].slice(0, size)


def _validity(array: pa.Array) -> pa.Buffer | None:
    bits = array.buffers()[0]
    if array.null_count == 0 or bits is None:
        return None
    return _clean_bits(bits, array.offset, len(array))


def _bits(array: pa.Array) -> pa.Array:
    validity = _validity(array)
    data = array if validity is None else array.fill_null(fill_value=False)
    bits = _clean_bits(data.buffers()[1], data.offset, len(array))
    return pa.Array.from_buffers(array.type, len(array), [validity, bits])


def _fixed_width(array: pa.Array) -> pa.Array:
    validity = _validity(array)
    width = array.type.bit_width // _BYTE
    data, start = array.buffers()[1], array.offset
    if validity is not None and width:
        # The same bytes under a type that every kernel knows.
        unsigned = _UNSIGNED.get(array.type.bit_width)
        same_width = unsigned if unsigned is not None else pa.binary(width)
        zero = pa.scalar(0 if unsigned is not None else bytes(width), same_width)
        values = pa.Array.from_buffers(
            same_width, len(array), [array.buffers()[0], data], offset=array.offset
        ).fill_null(zero)
        data, start = values.buffers()[1], values.offset
    exact = data.slice(start * width, len(array) * width)
    return pa.Array.from_buffers(array.type, len(array), [validity, exact])


def _variable_width(array: pa.Array) -> pa.Array:
    validity = _validity(array)
    if validity is not None:
        lengths = pc.binary_length(array)
        first, last, _ = _offsets(array)
        if (pc.sum(lengths).as_py() or 0) != last - first:
            array = array.fill_null(b"" if _is_binary(array.type) else "")
    first, last, offsets = _offsets(array)
    data = array.buffers()[2]
    exact = pa.py_buffer(b"") if data is None else data.slice(first, last - first)
    return pa.Array.from_buffers(array.type, len(array), [validity, offsets, exact])


def _is_binary(type_: pa.DataType) -> bool:
    return bool(types.is_binary(type_) or types.is_large_binary(type_))


def _offset_type(type_: pa.DataType) -> pa.DataType:
    large = types.is_large_string(type_) or types.is_large_binary(type_)
    return pa.int64() if large or types.is_large_list(type_) else pa.int32()


def _offsets(array: pa.Array) -> tuple[int, int, pa.Buffer]:
    """First and last offset of the rows, and the offsets counted from the first."""
    type_ = _offset_type(array.type)
    width = type_.bit_width // _BYTE
    count = len(array) + 1
    raw = array.buffers()[1].slice(array.offset * width, count * width)
    offsets = pa.Array.from_buffers(type_, count, [None, raw])
    first, last = offsets[0].as_py(), offsets[-1].as_py()
    if first:
        offsets = pc.subtract(offsets, pa.scalar(first, type_))
    return first, last, offsets.buffers()[1].slice(0, count * width)


def _list(array: pa.Array) -> pa.Array:
    # flatten() leaves out what lies outside the slice and beneath null lists.
    validity = _validity(array)
    lengths = pc.list_value_length(array).fill_null(0)
    offset_type = _offset_type(array.type)
    ends = pc.cumulative_sum(lengths.cast(offset_type))
    offsets = pa.concat_arrays([pa.array([0], offset_type), ends])
    field = array.type.value_field
    values = clean_array(array.flatten(), nullable=field.nullable)
    return pa.Array.from_buffers(
        array.type, len(array), [validity, offsets.buffers()[1]], children=[values]
    )


def _map(array: pa.Array) -> pa.Array:
    entries = pa.struct([array.type.key_field, array.type.item_field])
    plain = _list(array.cast(pa.list_(pa.field("entries", entries, nullable=False))))
    return pa.Array.from_buffers(
        array.type, len(array), plain.buffers()[:2], children=[plain.values]
    )


def _fixed_size_list(array: pa.Array) -> pa.Array:
    validity = _validity(array)
    if validity is not None:
        # Taking a null row writes null children, whatever lay there.
        valid = pc.is_valid(array)
        rows = pc.subtract(pc.cumulative_sum(pa.repeat(pa.scalar(1, pa.int64()), len(array))), 1)
        array = array.take(pc.if_else(valid, rows, pa.scalar(None, pa.int64())))
    size = array.type.list_size
    values = array.values.slice(array.offset * size, len(array) * size)
    children = [clean_array(values, nullable=array.type.value_field.nullable)]
    return pa.Array.from_buffers(array.type, len(array), [validity], children=children)


def _struct(array: pa.Array) -> pa.Array:
    # flatten() makes a child null where its parent is, so that the child is zeroed there.
    children = [
        clean_array(child, nullable=array.type.field(i).nullable)
        for i, child in enumerate(array.flatten())
    ]
    return pa.Array.from_buffers(array.type, len(array), [_validity(array)], children=children)


def _dictionary(array: pa.Array) -> pa.Array:
    type_, values, indices = array.type, array.dictionary, array.indices
    if values.null_count:
        # A row that points at a null value is a null row.
        indices = pc.if_else(values.is_valid().take(indices), indices, None)
    used = pc.unique(indices.drop_null())
    if len(used) < len(values):
        used = used.take(pc.sort_indices(used))
        indices = pc.index_in(indices, value_set=used).cast(type_.index_type)
        values = values.take(used)
    return pa.DictionaryArray.from_arrays(
        _fixed_width(indices), clean_array(values), ordered=type_.ordered
    )


def _cleaner(type_: pa.DataType) -> Callable[[pa.Array], pa.Array]:  # noqa: PLR0911 - one for each layout
    if types.is_boolean(type_):
        return _bits
    if types.is_dictionary(type_):
        return _dictionary
    if types.is_struct(type_):
        return _struct
    if types.is_map(type_):
        return _map
    if types.is_fixed_size_list(type_):
        return _fixed_size_list
    if types.is_list(type_) or types.is_large_list(type_):
        return _list
    if _is_binary(type_) or types.is_string(type_) or types.is_large_string(type_):
        return _variable_width
    return _fixed_width


def clean_array(array: pa.Array, *, nullable: bool = True) -> pa.Array:
    """Rebuild an array of a normalised type from its own rows and nothing else.

    Parameters
    ----------
    array
        Any slice of any array.
    nullable
        False for a field that admits no nulls: those that a null parent gave it become zeros.
    """
    if types.is_null(array.type):
        return pa.nulls(len(array))
    if len(array) == 0:
        return pa.array([], array.type)
    clean = _cleaner(array.type)(array)
    if nullable or clean.null_count == 0:
        return clean
    buffers: list[Any] = clean.buffers()
    return _without_validity(clean, buffers)


def _without_validity(array: pa.Array, buffers: list[Any]) -> pa.Array:
    type_ = array.type
    if types.is_struct(type_):
        children = [array.field(i) for i in range(type_.num_fields)]
        return pa.Array.from_buffers(type_, len(array), [None], children=children)
    if types.is_fixed_size_list(type_):
        return pa.Array.from_buffers(type_, len(array), [None], children=[array.values])
    if types.is_map(type_):
        plain = pa.StructArray.from_arrays(
            [array.keys, array.items], fields=[type_.key_field, type_.item_field]
        )
        return pa.Array.from_buffers(type_, len(array), [None, buffers[1]], children=[plain])
    if types.is_list(type_) or types.is_large_list(type_):
        return pa.Array.from_buffers(type_, len(array), [None, buffers[1]], children=[array.values])
    return pa.Array.from_buffers(type_, len(array), [None, *buffers[1:]])
