"""An expression: text that was parsed, and compiles for columns of known kinds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import sqlglot
from sqlglot import expressions as exp
from sqlglot.errors import SqlglotError

from clf_sdk.errors import InvalidExpression
from clf_sdk.expressions._compile import INNER, Compiled, Compiler, Source, check_parts

MOST_CHARACTERS = 4000
_MOST_NODES = 1000
_DIALECT = "duckdb"


@dataclass(frozen=True)
class Expression:
    """An expression over columns, from `Expression.parse`.

    Attributes
    ----------
    text
        As it was written.
    columns
        Columns that it reads, in order of appearance.
    """

    text: str
    columns: tuple[str, ...]
    _tree: exp.Expr = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str) -> Expression:
        """Parse an expression such as ``weight / (height * height)``.

        Raises
        ------
        InvalidExpression
            It can't be parsed, is not one expression, or uses what is not allowed.
        """
        if not isinstance(text, str) or not text.strip() or len(text) > MOST_CHARACTERS:
            raise InvalidExpression(
                f"an expression is a text of 1 to {MOST_CHARACTERS:,} characters"
            )
        try:
            trees = sqlglot.parse(text, dialect=_DIALECT)
        except SqlglotError as error:
            found = getattr(error, "errors", None) or [{}]
            where = f" near character {found[0]['col']}" if "col" in found[0] else ""
            raise InvalidExpression(f"the expression can't be parsed{where}") from None
        except RecursionError:
            raise InvalidExpression("the expression is nested too deep") from None
        if len(trees) != 1 or trees[0] is None:
            raise InvalidExpression("the text is not one expression")
        columns: dict[str, None] = {}
        for count, node in enumerate(trees[0].walk()):
            if count >= _MOST_NODES:
                raise InvalidExpression(f"the expression has more than {_MOST_NODES:,} parts")
            if not isinstance(node, INNER):
                check_parts(node)
            if isinstance(node, exp.Column):
                columns.setdefault(node.name)
        return cls(text, tuple(columns), trees[0])

    def compile(self, columns: Mapping[str, Source]) -> Compiled:
        """Return SQL in which no character is the author's, and that no row can make fail.

        Parameters
        ----------
        columns
            By name, what may be used.

        Raises
        ------
        InvalidExpression
            It uses an unknown column, or values of kinds that do not go together.
        """
        try:
            return Compiler(columns)(self._tree)
        except RecursionError:
            raise InvalidExpression("the expression is nested too deep") from None

    def condition(self, columns: Mapping[str, Source]) -> str:
        """Return the SQL of an expression that must be true or false.

        Raises
        ------
        InvalidExpression
            As for `compile`, or it is neither true nor false.
        """
        made = self.compile(columns)
        if made.kind != "boolean":
            raise InvalidExpression(
                f"a condition is true or false, and this is a {made.kind}",
                hint="compare it with something",
            )
        return made.sql
