"""A query that counts and sums in groups: SQL that was parsed, of which only checked parts remain.

It is not run: what the program runs is written anew from these parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import sqlglot
from sqlglot import expressions as exp
from sqlglot.errors import SqlglotError

from clf_sdk.errors import InvalidExpression
from clf_sdk.expressions._compile import refuse
from clf_sdk.expressions._expression import MOST_CHARACTERS, Expression

TABLE = "data"
MOST_NAMED = 100

Function: TypeAlias = Literal["count", "count_distinct", "sum", "avg", "stddev", "variance"]

_FUNCTIONS: Mapping[type[exp.Expr], Function] = {
    exp.Count: "count",
    exp.Sum: "sum",
    exp.Avg: "avg",
    exp.Stddev: "stddev",
    exp.StddevSamp: "stddev",
    exp.Variance: "variance",
}
_HINT = (
    "write it like SELECT region, count(*) AS n, avg(cost) AS mean_cost FROM data "
    "WHERE age >= 18 GROUP BY region"
)
_SELECT = frozenset({"expressions", "from_", "where", "group"})


@dataclass(frozen=True)
class Measure:
    """A number for each group.

    Attributes
    ----------
    name
        What it is called.
    function
        How it is computed.
    of
        Of what; None counts rows.
    """

    name: str
    function: Function
    of: Expression | None


@dataclass(frozen=True)
class GroupQuery:
    """Keys, measures and a condition, from `GroupQuery.parse`.

    Attributes
    ----------
    keys
        By name, what the groups have in common.
    measures
        What is told of each group.
    where
        Which rows; None: all.
    names
        Of keys and measures, as they were selected.
    """

    keys: Mapping[str, Expression]
    measures: tuple[Measure, ...]
    where: Expression | None
    names: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> GroupQuery:
        """Read a query such as ``SELECT region, count(*) AS n FROM data GROUP BY region``.

        Raises
        ------
        InvalidExpression
            It can't be parsed, or does anything else than group one table.
        """
        if not isinstance(text, str) or not text.strip() or len(text) > MOST_CHARACTERS:
            raise InvalidExpression(f"a query is a text of 1 to {MOST_CHARACTERS:,} characters")
        try:
            trees = sqlglot.parse(text, dialect="duckdb")
            if len(trees) != 1 or not isinstance(trees[0], exp.Select):
                raise InvalidExpression("the text is not one SELECT", hint=_HINT)
            return _read(trees[0])
        except SqlglotError as error:
            found = getattr(error, "errors", None) or [{}]
            where = f" near character {found[0]['col']}" if "col" in found[0] else ""
            raise InvalidExpression(f"the query can't be parsed{where}", hint=_HINT) from None
        except RecursionError:
            raise InvalidExpression("the query is nested too deep") from None


def _only(node: exp.Expr, parts: frozenset[str], what: str) -> None:
    for part, value in node.args.items():
        if value and part not in parts:
            raise InvalidExpression(
                f"{what} with {part.strip('_').upper()} is not allowed", hint=_HINT
            )


def _expression(node: exp.Expr) -> Expression:
    return Expression.parse(node.sql("duckdb", comments=False))


def _read(tree: exp.Select) -> GroupQuery:
    _only(tree, _SELECT, "a query")
    _check_source(tree.args.get("from_"))
    keys: dict[str, Expression] = {}
    measures: list[Measure] = []
    names: list[str] = []
    for selected in tree.expressions:
        node = selected.unalias()
        name = selected.alias_or_name or node.sql("duckdb", comments=False)
        names.append(name)
        if type(node) in _FUNCTIONS:
            measures.append(_measure(name, node))
        else:
            keys[name] = _expression(node)
    if len(set(names)) < len(names) or len(names) > MOST_NAMED:
        raise InvalidExpression(
            f"a name stands twice, or there are more than {MOST_NAMED}", hint="name them by AS"
        )
    if not measures:
        raise InvalidExpression("the query counts and sums nothing", hint=_HINT)
    _check_groups(tree.args.get("group"), keys)
    where = tree.args.get("where")
    return GroupQuery(
        keys, tuple(measures), None if where is None else _expression(where.this), tuple(names)
    )


def _check_source(source: exp.Expr | None) -> None:
    if source is None:
        raise InvalidExpression(f"the query has no FROM {TABLE}", hint=_HINT)
    table = source.this
    if not isinstance(table, exp.Table) or table.name.lower() != TABLE:
        raise InvalidExpression(f"a query reads from {TABLE} alone", hint=_HINT)
    _only(table, frozenset({"this"}), "the table")
    if not isinstance(table.this, exp.Identifier):
        raise InvalidExpression(f"a query reads from {TABLE} alone", hint=_HINT)


def _measure(name: str, node: exp.Expr) -> Measure:
    _only(node, frozenset({"this", "big_int"}), "an aggregate")
    function, of = _FUNCTIONS[type(node)], node.this
    if function == "count" and isinstance(of, exp.Star):
        _only(of, frozenset(), "count(*)")
        return Measure(name, "count", None)
    if function == "count" and isinstance(of, exp.Distinct):
        _only(of, frozenset({"expressions"}), "count(DISTINCT …)")
        if len(of.expressions) != 1:
            refuse(node, "count(DISTINCT …) takes one column")
        function, of = "count_distinct", of.expressions[0]
    return Measure(name, function, _expression(of))


def _check_groups(group: exp.Expr | None, keys: Mapping[str, Expression]) -> None:
    """Check that the query groups by exactly what it selects beside aggregates."""
    if group is None:
        if keys:
            raise InvalidExpression(
                f"column {next(iter(keys))[:80]!r} stands beside aggregates", hint="add GROUP BY"
            )
        return
    _only(group, frozenset({"expressions", "all"}), "GROUP BY")
    if group.args.get("all"):
        return
    named = {name for name in keys for each in group.expressions if _is_key(each, name, keys)}
    unknown = [
        each for each in group.expressions if not any(_is_key(each, name, keys) for name in keys)
    ]
    if named != set(keys) or unknown:
        raise InvalidExpression(
            "GROUP BY must name all that is selected beside aggregates, and nothing else",
            hint="or GROUP BY ALL",
        )


def _is_key(node: exp.Expr, name: str, keys: Mapping[str, Expression]) -> bool:
    plain = isinstance(node, exp.Column) and not node.table and node.name == name
    return plain or node.sql("duckdb", comments=False) == keys[name].text
