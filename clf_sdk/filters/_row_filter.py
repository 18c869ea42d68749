"""A row filter: text that was parsed, and that consists of nothing but what is allowed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import sqlglot
from sqlglot import expressions as exp
from sqlglot.errors import SqlglotError

from clf_sdk.errors import InvalidFilter
from clf_sdk.filters._kinds import check_kinds, column_kinds, quoted

if TYPE_CHECKING:
    import pyarrow as pa

MOST_CHARACTERS = 4000
_MOST_NODES = 1000
_DIALECT = "duckdb"
_ALLOWED = (
    "comparisons, AND, OR, NOT, IN, BETWEEN, LIKE, IS NULL, DATE '…', TIMESTAMP '…', "
    "LOWER, UPPER, LENGTH, ABS, YEAR"
)
_DATES = (exp.DataType.Type.DATE, exp.DataType.Type.TIMESTAMP, exp.DataType.Type.TIMESTAMPNTZ)

# Every node that may stand in a filter, with the only parts that it may have.
_PARTS: Mapping[type[exp.Expr], frozenset[str]] = {
    exp.And: frozenset({"this", "expression"}),
    exp.Or: frozenset({"this", "expression"}),
    exp.Not: frozenset({"this"}),
    exp.Paren: frozenset({"this"}),
    exp.EQ: frozenset({"this", "expression"}),
    exp.NEQ: frozenset({"this", "expression"}),
    exp.LT: frozenset({"this", "expression"}),
    exp.LTE: frozenset({"this", "expression"}),
    exp.GT: frozenset({"this", "expression"}),
    exp.GTE: frozenset({"this", "expression"}),
    exp.In: frozenset({"this", "expressions"}),
    exp.Between: frozenset({"this", "low", "high"}),
    exp.Like: frozenset({"this", "expression", "negate"}),
    exp.Is: frozenset({"this", "expression"}),
    exp.Null: frozenset(),
    exp.Boolean: frozenset({"this"}),
    exp.Literal: frozenset({"this", "is_string"}),
    exp.Neg: frozenset({"this"}),
    exp.Cast: frozenset({"this", "to"}),
    exp.DataType: frozenset({"this", "nested"}),
    exp.Column: frozenset({"this"}),
    exp.Identifier: frozenset({"this", "quoted"}),
    exp.Lower: frozenset({"this"}),
    exp.Upper: frozenset({"this"}),
    exp.Length: frozenset({"this"}),
    exp.Abs: frozenset({"this"}),
    exp.Year: frozenset({"this"}),
}


@dataclass(frozen=True)
class RowFilter:
    """A condition that a row must meet to leave its owner, from `RowFilter.parse`.

    A row leaves when the condition is true; where it is false, or unknown because a value is
    missing, the row stays.

    Attributes
    ----------
    canonical
        The condition in one form, whatever blanks and comments it was written with.
    columns
        Columns that it reads, in order of appearance.
    """

    canonical: str
    columns: tuple[str, ...]
    _tree: exp.Expr = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str) -> RowFilter:
        """Parse a condition such as ``age >= 18 AND country = 'DE'``.

        Raises
        ------
        InvalidFilter
            It is no condition, or uses something that is not allowed; the message names it.
        """
        if not isinstance(text, str) or not text.strip():
            raise InvalidFilter(
                "the row filter is empty", hint="leave it out to let every row leave"
            )
        if len(text) > MOST_CHARACTERS:
            raise InvalidFilter(f"the row filter has more than {MOST_CHARACTERS:,} characters")
        return _parse(text)

    def __str__(self) -> str:
        return self.canonical

    @property
    def conjuncts(self) -> frozenset[str]:
        """The conditions that must all hold, each in its one form."""
        return frozenset(_text(part) for part in _conjuncts(self._tree))

    def check(self, schema: pa.Schema) -> None:
        """Check that the filter fits a table.

        Raises
        ------
        InvalidFilter
            The table lacks a column, or a column's type can't be compared so.
        """
        self.sql(schema)

    def sql(self, schema: pa.Schema) -> tuple[str, list[str]]:
        """Return the condition as SQL in which no character is the author's.

        Columns are called ``c0``, ``c1``, … in the order of `columns`, texts are ``$1``, ``$2``, ….

        Returns
        -------
        tuple
            The SQL, and the texts for its parameters.

        Raises
        ------
        InvalidFilter
            As for `check`.
        """
        kinds = column_kinds(schema, self.columns)
        tree = check_kinds(self._tree.copy(), kinds)
        numbers = {name: f"c{i}" for i, name in enumerate(self.columns)}
        texts: list[str] = []

        def rename(node: exp.Expr) -> exp.Expr:
            if isinstance(node, exp.Column):
                return exp.column(numbers[node.name])
            if isinstance(node, exp.Literal) and node.is_string:
                texts.append(node.name)
                return exp.Placeholder(this=exp.Literal.number(len(texts)))
            return node

        return tree.transform(rename).sql(_DIALECT, comments=False), texts


def _text(tree: exp.Expr) -> str:
    return tree.sql(_DIALECT, comments=False)


def _conjuncts(tree: exp.Expr) -> Iterator[exp.Expr]:
    tree = tree.unnest()
    if isinstance(tree, exp.And):
        yield from _conjuncts(tree.left)
        yield from _conjuncts(tree.right)
    else:
        yield tree


@lru_cache(maxsize=256)
def _parse(text: str) -> RowFilter:
    try:
        trees = sqlglot.parse(text, dialect=_DIALECT)
        if len(trees) != 1 or trees[0] is None:
            raise InvalidFilter("the row filter is not one condition", hint=f"use {_ALLOWED}")
        tree = trees[0]
        columns = _check_nodes(tree)
        check_kinds(tree.copy(), None)
        return RowFilter(_text(tree), columns, tree)
    except SqlglotError as error:
        found = getattr(error, "errors", None) or [{}]
        where = f" near character {found[0]['col']}" if "col" in found[0] else ""
        raise InvalidFilter(
            f"the row filter can't be parsed{where}", hint="write it like age >= 18 AND sex = 'f'"
        ) from None
    except RecursionError:
        raise InvalidFilter("the row filter is nested too deep") from None


def _check_nodes(tree: exp.Expr) -> tuple[str, ...]:
    """Refuse every node, and every part of a node, that is not on the list."""
    columns: dict[str, None] = {}
    for count, node in enumerate(tree.walk()):
        if count >= _MOST_NODES:
            raise InvalidFilter(f"the row filter has more than {_MOST_NODES:,} parts")
        allowed = _PARTS.get(type(node))
        if allowed is None:
            raise _not_allowed(node)
        for part, value in node.args.items():
            if part not in allowed and value:
                raise _not_allowed(node, part)
        if isinstance(node, exp.DataType) and (node.this not in _DATES or node.args.get("nested")):
            raise InvalidFilter(
                f"the row filter converts to {str(node)[:40]}",
                hint="only texts can be converted, with DATE '…' and TIMESTAMP '…'",
            )
        if isinstance(node, exp.Column):
            columns.setdefault(node.name)
    if not columns:
        raise InvalidFilter(
            "the row filter names no column", hint="leave it out to let every row leave"
        )
    return tuple(columns)


def _not_allowed(node: exp.Expr, part: str | None = None) -> InvalidFilter:
    if isinstance(node, exp.Anonymous):
        what = f"the function {quoted(node.name)}"
    elif isinstance(node, exp.Column):
        what = f"the table name {quoted(node.table)}"
    else:
        what = type(node).__name__ if part is None else f"{type(node).__name__} with {part}"
    return InvalidFilter(f"the row filter uses {what}, which is not allowed", hint=_ALLOWED)
