"""Kinds of values, and how each is compared and joined with others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    import pyarrow as pa

Kind: TypeAlias = Literal["integer", "number", "text", "date", "timestamp", "boolean", "null"]
"""Of an expression. ``integer`` is exact; ``number`` is a double, and so is what is computed."""

NUMBERS: frozenset[Kind] = frozenset({"integer", "number"})
MOMENTS: frozenset[Kind] = frozenset({"date", "timestamp"})


def kind_of_type(kind: pa.DataType) -> Kind | None:
    """Return the kind of a column by its Arrow type; None where expressions can't use it."""
    from pyarrow import types  # noqa: PLC0415 - a job is parsed without Arrow

    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_boolean(kind):
        return "boolean"
    if types.is_integer(kind):
        return "integer"
    if types.is_floating(kind) or types.is_decimal(kind):
        return "number"
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return "text"
    if types.is_date(kind):
        return "date"
    return "timestamp" if types.is_timestamp(kind) else None


def common(kinds: list[Kind]) -> Kind | None:
    """Return the kind that values of some kinds have in common; None if there is none."""
    known = set(kinds) - {"null"}
    if not known:
        return "null"
    if known <= NUMBERS:
        return "integer" if known == {"integer"} else "number"
    if known <= MOMENTS:
        return "date" if known == {"date"} else "timestamp"
    return known.pop() if len(known) == 1 else None


def as_kind(sql: str, kind: Kind, wanted: Kind) -> str:
    """Return SQL of one kind as another that `common` found for it. No value makes it fail."""
    if kind in (wanted, "null"):
        return sql
    # There are dates beyond all timestamps.
    return f"{sql}::DOUBLE" if wanted == "number" else f"TRY_CAST({sql} AS TIMESTAMP)"
