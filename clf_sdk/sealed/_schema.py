"""Which columns can be stored, and the one schema that stands for a table (§4.4)."""

from __future__ import annotations

import pyarrow as pa
from pyarrow import types

from clf_sdk.errors import TooLarge, UnsupportedColumn

MAX_COLUMNS = 16_384
MAX_NAME_BYTES = 1024
_MAX_DEPTH = 16
_SHOWN_CHARACTERS = 60


def shown_name(name: object) -> str:
    """Quote a column name for a message: one short line, whatever the name holds."""
    text = ascii(str(name))
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…'"


def check_column_name(name: object, position: int) -> str:
    """Return a column's name if it can be stored.

    Raises
    ------
    UnsupportedColumn
        It is not text, empty, too long, or holds a NUL or a lone surrogate.
    """
    if not isinstance(name, str):
        raise UnsupportedColumn(
            f"the name of column {position} is not text but {type(name).__name__}",
            hint="rename the columns, for instance df.columns = df.columns.astype(str)",
        )
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise UnsupportedColumn(
            f"the name of column {position}, {shown_name(name)}, is not well-formed Unicode",
            hint="rename the column",
        ) from None
    if not name:
        raise UnsupportedColumn(f"column {position} has an empty name", hint="name the column")
    if "\0" in name:
        raise UnsupportedColumn(
            f"the name of column {position}, {shown_name(name)}, holds a NUL character",
            hint="rename the column",
        )
    if size > MAX_NAME_BYTES:
        raise UnsupportedColumn(
            f"the name of column {position}, {shown_name(name)}, has {size:,} bytes in UTF-8",
            hint=f"rename the column; {MAX_NAME_BYTES:,} bytes are the limit",
        )
    return name


def _refuse(name: str, type_: pa.DataType, hint: str) -> UnsupportedColumn:
    kind = "an extension type" if isinstance(type_, pa.BaseExtensionType) else str(type_)
    return UnsupportedColumn(
        f"column {shown_name(name)} has a type that can't be stored: {kind[:200]}", hint=hint
    )


def _children(type_: pa.DataType) -> list[pa.Field]:
    return [type_.field(i) for i in range(type_.num_fields)]


def _normal_field(name: str, field: pa.Field, depth: int) -> pa.Field:
    type_ = _normal_type(name, field.type, depth)
    return pa.field(field.name, type_, nullable=field.nullable)


def _normal_dictionary(name: str, type_: pa.DataType) -> pa.DataType:
    values = type_.value_type
    if types.is_nested(values) or types.is_dictionary(values) or types.is_null(values):
        raise _refuse(name, type_, "use plain values as categories")
    return pa.dictionary(type_.index_type, _normal_type(name, values, 1), ordered=type_.ordered)


def _normal_nested(name: str, type_: pa.DataType, depth: int) -> pa.DataType:
    fields = [_normal_field(name, field, depth + 1) for field in _children(type_)]
    if types.is_struct(type_):
        return pa.struct(fields)
    if types.is_map(type_):
        key, item = _children(fields[0].type)
        return pa.map_(key, item, keys_sorted=type_.keys_sorted)
    if types.is_fixed_size_list(type_):
        return pa.list_(fields[0], type_.list_size)
    return pa.large_list(fields[0]) if types.is_large_list(type_) else pa.list_(fields[0])


def _normal_type(name: str, type_: pa.DataType, depth: int) -> pa.DataType:
    if depth > _MAX_DEPTH:
        raise _refuse(name, type_, f"nest at most {_MAX_DEPTH} levels deep")
    if isinstance(type_, pa.BaseExtensionType):
        raise _refuse(name, type_, "convert the column to its storage type, or to text")
    if types.is_dictionary(type_):
        if depth:
            raise _refuse(name, type_, "categories inside a list or a struct: store the values")
        return _normal_dictionary(name, type_)
    if types.is_string_view(type_):
        return pa.large_string()
    if types.is_binary_view(type_):
        return pa.large_binary()
    if (
        types.is_struct(type_)
        or types.is_map(type_)
        or types.is_list(type_)
        or types.is_large_list(type_)
        or types.is_fixed_size_list(type_)
    ):
        return _normal_nested(name, type_, depth)
    if types.is_nested(type_) or types.is_run_end_encoded(type_):
        raise _refuse(name, type_, "convert the column to plain values or ordinary lists")
    return type_


def normalise_schema(schema: pa.Schema) -> pa.Schema:
    """Bring a schema into stored form: no metadata, no views, only types that can be sealed.

    Normalising twice changes nothing.

    Raises
    ------
    UnsupportedColumn
        A name or a type that can't be stored; the message names the column.
    TooLarge
        More columns than 16,384.
    """
    if len(schema) > MAX_COLUMNS:
        raise TooLarge(
            f"the table has {len(schema):,} columns, {MAX_COLUMNS:,} are the limit",
            hint="turn columns into rows (DataFrame.melt), or share several tables",
        )
    seen: set[str] = set()
    fields = []
    for position, field in enumerate(schema):
        try:
            name = check_column_name(field.name, position)
            fields.append(_normal_field(name, field, 0))
        except UnicodeDecodeError:
            raise UnsupportedColumn(
                f"column {position} has a name, or a field inside it, that is not UTF-8",
                hint="rename the column",
            ) from None
        if name in seen:
            raise UnsupportedColumn(
                f"two columns are named {shown_name(name)}", hint="rename one of them"
            )
        seen.add(name)
    return pa.schema(fields)


def describe_schema(schema: pa.Schema) -> list[dict[str, str | bool]]:
    """Name, type and nullability of every column, for catalogues."""
    return [
        {"name": field.name, "type": str(field.type), "nullable": field.nullable}
        for field in schema
    ]
