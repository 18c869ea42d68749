"""What is compared with what in a row filter: numbers, texts, dates, times, truth values.

The filter is checked before it ever meets a row, so that no error of the database, which would
quote a value, depends on what the rows hold.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

from sqlglot import expressions as exp

from clf_sdk.errors import InvalidFilter

if TYPE_CHECKING:
    import pyarrow as pa

Kind: TypeAlias = Literal["number", "text", "date", "timestamp", "boolean"]
"""Of an expression; None where the columns are not known yet."""

_NUMBER = re.compile(r"\d{1,18}(\.\d{1,18})?", re.ASCII)
_COMPARISONS = (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE)
_FUNCTIONS: Mapping[type[exp.Expr], tuple[frozenset[Kind], Kind]] = {
    exp.Lower: (frozenset({"text"}), "text"),
    exp.Upper: (frozenset({"text"}), "text"),
    exp.Length: (frozenset({"text"}), "number"),
    exp.Abs: (frozenset({"number"}), "number"),
    exp.Year: (frozenset({"date", "timestamp"}), "number"),
}
_SHOWN_CHARACTERS = 60


def quoted(name: str) -> str:
    """Quote a name for a message: one short line, whatever it holds."""
    text = ascii(name)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…'"


def _kind_of_type(kind: pa.DataType) -> Kind | None:
    from pyarrow import types  # noqa: PLC0415 - only a check against a schema needs Arrow

    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_boolean(kind):
        return "boolean"
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal128(kind):
        return "number"
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return "text"
    if types.is_date(kind):
        return "date"
    return "timestamp" if types.is_timestamp(kind) else None


def column_kinds(schema: pa.Schema, columns: Sequence[str]) -> dict[str, Kind]:
    """Return the kind of each column that a filter reads.

    Raises
    ------
    InvalidFilter
        The table lacks one, or its type can't be compared.
    """
    import difflib  # noqa: PLC0415 - only needed for the message

    kinds: dict[str, Kind] = {}
    for name in columns:
        if name not in schema.names:
            near = difflib.get_close_matches(name, schema.names, n=3)
            raise InvalidFilter(
                f"the row filter names column {quoted(name)}, which the table does not have",
                hint=f"did you mean {', '.join(near)}?" if near else "names are case-sensitive",
            )
        kind = _kind_of_type(schema.field(name).type)
        if kind is None:
            raise InvalidFilter(
                f"column {quoted(name)} has type {str(schema.field(name).type)[:60]}, "
                "which a row filter can't compare",
                hint="numbers, texts, dates, timestamps and booleans can be compared",
            )
        kinds[name] = kind
    return kinds


class _Checker:
    """Finds the kind of every expression, and turns texts beside dates into dates.

    Parameters
    ----------
    columns
        Kind of each column; None when the table is not known, where a column fits everything.
    """

    def __init__(self, columns: Mapping[str, Kind] | None) -> None:
        self._columns = columns

    def condition(self, node: exp.Expr) -> None:
        """Check what must be true or false."""
        kind = self.kind(node)
        if isinstance(node, exp.Boolean):
            raise _constant(node)
        if kind not in ("boolean", None):
            raise InvalidFilter(
                f"the row filter takes a {kind} for a condition: {_shown(node)}",
                hint="compare it with something",
            )

    def kind(self, node: exp.Expr) -> Kind | None:  # noqa: PLR0911 - one for each node
        """Return the kind of an expression, after a check of its parts."""
        if isinstance(node, exp.Paren):
            return self.kind(node.this)
        if isinstance(node, exp.Column):
            return None if self._columns is None else self._columns[node.name]
        if isinstance(node, exp.Boolean):
            return "boolean"
        if isinstance(node, exp.Literal | exp.Neg):
            return _literal(node)
        if isinstance(node, exp.Cast):
            return _date(node)
        if type(node) in _FUNCTIONS:
            return self._function(node)
        if isinstance(node, exp.Null):
            raise InvalidFilter(
                "the row filter compares with NULL, which is never true", hint="write IS NULL"
            )
        if isinstance(node, exp.And | exp.Or):
            self.condition(node.left)
            self.condition(node.right)
        elif isinstance(node, exp.Not):
            self.condition(node.this)
        else:
            self._predicate(node)
        return "boolean"

    def _function(self, node: exp.Expr) -> Kind:
        takes, gives = _FUNCTIONS[type(node)]
        kind = self.kind(node.this)
        if kind is not None and kind not in takes:
            raise InvalidFilter(
                f"the row filter uses {type(node).__name__.upper()} on a {kind}: {_shown(node)}"
            )
        return gives

    def _predicate(self, node: exp.Expr) -> None:
        if isinstance(node, _COMPARISONS):
            self._same(node, [node.left, node.right])
        elif isinstance(node, exp.Between):
            self._same(node, [node.this, node.args["low"], node.args["high"]])
        elif isinstance(node, exp.In):
            choices = node.expressions
            if not choices or not all(map(_is_value, choices)):
                raise InvalidFilter(
                    f"the row filter's IN needs a list of values: {_shown(node)}",
                    hint="for example country IN ('DE', 'FR')",
                )
            self._same(node, [node.this, *choices])
        elif isinstance(node, exp.Like):
            pattern = node.expression
            if not (isinstance(pattern, exp.Literal) and pattern.is_string):
                raise InvalidFilter("the row filter's LIKE needs a pattern in quotes")
            if self.kind(node.this) not in ("text", None):
                raise InvalidFilter(f"the row filter uses LIKE on no text: {_shown(node)}")
        elif isinstance(node, exp.Is):
            if not isinstance(node.expression, exp.Null | exp.Boolean):
                raise InvalidFilter(f"after IS stands NULL, TRUE or FALSE: {_shown(node)}")
            kind = self.kind(node.this)
            if isinstance(node.expression, exp.Boolean) and kind not in ("boolean", None):
                raise InvalidFilter(f"IS TRUE and IS FALSE are for conditions: {_shown(node)}")
        else:
            raise InvalidFilter(f"the row filter can't hold this here: {_shown(node)}")

    def _same(self, node: exp.Expr, sides: list[exp.Expr]) -> None:
        """Check that all sides can be compared, and that the comparison depends on the row."""
        if node.find(exp.Column) is None:
            raise _constant(node)
        kinds = [self.kind(side) for side in sides]
        dates = [kind for kind in kinds if kind in ("date", "timestamp")]
        if dates:
            # A text beside a date is a date; it is turned into one now, not row by row.
            for i, side in enumerate(sides):
                if kinds[i] == "text" and isinstance(side, exp.Literal):
                    kinds[i] = _to_date(side, dates[0])
        known = {"date" if kind == "timestamp" else kind for kind in kinds if kind is not None}
        if len(known) > 1:
            raise InvalidFilter(
                f"the row filter compares {' with '.join(sorted(map(str, known)))}: {_shown(node)}",
                hint="texts stand in quotes, numbers do not",
            )


def check_kinds(tree: exp.Expr, columns: Mapping[str, Kind] | None) -> exp.Expr:
    """Check that a filter is a condition that makes sense, and return it ready to run.

    Parameters
    ----------
    tree
        The filter, which is changed.
    columns
        Kind of each column, or None.

    Raises
    ------
    InvalidFilter
        Something is compared with what it can't be compared with.
    """
    _Checker(columns).condition(tree)
    return tree


def _shown(node: exp.Expr) -> str:
    return quoted(node.sql("duckdb", comments=False))


def _constant(node: exp.Expr) -> InvalidFilter:
    return InvalidFilter(
        f"the row filter has a condition that names no column: {_shown(node)}",
        hint="it is the same for every row; leave it out",
    )


def _is_value(node: exp.Expr) -> bool:
    return isinstance(node, exp.Literal | exp.Neg | exp.Cast | exp.Boolean)


def _literal(node: exp.Expr) -> Kind:
    if isinstance(node, exp.Neg):
        if not (isinstance(node.this, exp.Literal) and not node.this.is_string):
            raise InvalidFilter(f"a minus stands before a number only: {_shown(node)}")
        return _literal(node.this)
    if node.is_string:
        return "text"
    if not _NUMBER.fullmatch(node.name):
        raise InvalidFilter(
            f"the row filter has a number that is too long or has an exponent: {_shown(node)}",
            hint="at most 18 digits before and after the point",
        )
    return "number"


def _date(node: exp.Cast) -> Kind:
    if not (isinstance(node.this, exp.Literal) and node.this.is_string):
        raise InvalidFilter(
            f"the row filter converts something that is no text in quotes: {_shown(node)}",
            hint="share the column with the right type",
        )
    kind: Kind = "date" if node.to.this == exp.DataType.Type.DATE else "timestamp"
    return _to_date(node.this, kind, cast=node)


def _to_date(literal: exp.Expr, kind: Kind, *, cast: exp.Cast | None = None) -> Kind:
    """Turn a text into a date or a timestamp, in place."""
    text = literal.name
    try:
        if kind == "date":
            moment = dt.date.fromisoformat(text).isoformat()
        else:
            when = dt.datetime.fromisoformat(text)
            naive = when if when.tzinfo is None else when.astimezone(dt.UTC).replace(tzinfo=None)
            moment = naive.isoformat(sep=" ")
    except ValueError:
        raise InvalidFilter(
            f"the row filter has {quoted(text)} for a {kind}",
            hint="write 2026-01-31, or 2026-01-31 12:00:00",
        ) from None
    made = exp.cast(exp.Literal.string(moment), "DATE" if kind == "date" else "TIMESTAMP")
    (literal if cast is None else cast).replace(made)
    return kind
