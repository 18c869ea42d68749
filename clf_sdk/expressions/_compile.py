"""Make SQL of our own of a parsed expression; what is not on the lists here does not compile.

No value of a row can make what is compiled fail: whole numbers are compared as they are and
computed with as doubles, roots and logarithms of what has none are missing, and conversions that
do not fit are missing. So no error, and no absence of one, tells anything about a row.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from sqlglot import expressions as exp

from clf_sdk.errors import InvalidExpression
from clf_sdk.expressions._kinds import MOMENTS, NUMBERS, Kind, as_kind, common

_NUMBER = re.compile(r"\d{1,18}(\.\d{1,18})?", re.ASCII)
_MOST_WHOLE_DIGITS = 18
_MOST_CHARACTERS = 10_000
_SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class Compiled:
    """SQL, and the kind of its values."""

    sql: str
    kind: Kind


@dataclass(frozen=True)
class Source:
    """A column that an expression may use: its SQL in the database, and its kind."""

    sql: str
    kind: Kind


def shown(node: exp.Expr) -> str:
    """Return a part of an expression for a message: one short line."""
    text = ascii(node.sql("duckdb", comments=False))
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…'"


def refuse(node: exp.Expr, why: str, hint: str | None = None) -> NoReturn:
    """Refuse an expression for one of its parts."""
    raise InvalidExpression(f"{why}: {shown(node)}", hint=hint)


def literal(text: str) -> str:
    """Return a text as it stands in SQL."""
    return exp.Literal.string(text).sql("duckdb")


_COMPARISONS: Mapping[type[exp.Expr], str] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
}
_ARITHMETIC: Mapping[type[exp.Expr], str] = {
    exp.Add: "({0} + {1})",
    exp.Sub: "({0} - {1})",
    exp.Mul: "({0} * {1})",
    exp.Div: "({0} / nullif({1}, 0))",
    exp.Mod: "({0} % nullif({1}, 0))",
    exp.Pow: "pow({0}, {1})",
}
_OF_NUMBERS: Mapping[type[exp.Expr], str] = {
    exp.Abs: "abs({0})",
    exp.Floor: "floor({0})",
    exp.Ceil: "ceil({0})",
    exp.Exp: "exp({0})",
    exp.Sign: "sign({0})::DOUBLE",
    exp.Sqrt: "sqrt({0})",
    # greatest() leaves nulls out, so that null and what is below 0 become 0, and then null.
    exp.Ln: "ln(nullif(greatest({0}, 0), 0))",
}
_OF_TEXTS: Mapping[type[exp.Expr], tuple[str, Kind]] = {
    exp.Lower: ("lower({0})", "text"),
    exp.Upper: ("upper({0})", "text"),
    exp.Trim: ("trim({0})", "text"),
    exp.Length: ("length({0})", "integer"),
}
_OF_MOMENTS: Mapping[type[exp.Expr], str] = {
    exp.Year: "year({0})",
    exp.Month: "month({0})",
    exp.Day: "day({0})",
    exp.Quarter: "quarter({0})",
    exp.DayOfWeek: "dayofweek({0})",
}
_UNITS = ("day", "week", "month", "quarter", "year")
_CASTS: Mapping[exp.DType, tuple[str, Kind]] = {
    exp.DataType.Type.DOUBLE: ("DOUBLE", "number"),
    exp.DataType.Type.FLOAT: ("DOUBLE", "number"),
    exp.DataType.Type.INT: ("BIGINT", "integer"),
    exp.DataType.Type.BIGINT: ("BIGINT", "integer"),
    exp.DataType.Type.TEXT: ("VARCHAR", "text"),
    exp.DataType.Type.VARCHAR: ("VARCHAR", "text"),
    exp.DataType.Type.DATE: ("DATE", "date"),
    exp.DataType.Type.TIMESTAMP: ("TIMESTAMP", "timestamp"),
    exp.DataType.Type.TIMESTAMPNTZ: ("TIMESTAMP", "timestamp"),
    exp.DataType.Type.BOOLEAN: ("BOOLEAN", "boolean"),
}

# Every part that a node may have beside the ones of its kind; sqlglot sets these by itself.
_PARTS: Mapping[type[exp.Expr], frozenset[str]] = {
    exp.Column: frozenset({"this"}),
    exp.Literal: frozenset({"this", "is_string"}),
    exp.Boolean: frozenset({"this"}),
    exp.Null: frozenset(),
    exp.Paren: frozenset({"this"}),
    exp.Neg: frozenset({"this"}),
    exp.And: frozenset({"this", "expression"}),
    exp.Or: frozenset({"this", "expression"}),
    exp.Not: frozenset({"this"}),
    exp.Is: frozenset({"this", "expression"}),
    exp.In: frozenset({"this", "expressions"}),
    exp.Between: frozenset({"this", "low", "high"}),
    exp.Like: frozenset({"this", "expression", "negate"}),
    exp.Case: frozenset({"this", "ifs", "default"}),
    exp.If: frozenset({"this", "true", "false"}),
    exp.Coalesce: frozenset({"this", "expressions"}),
    exp.Nullif: frozenset({"this", "expression"}),
    exp.Least: frozenset({"this", "expressions", "ignore_nulls"}),
    exp.Greatest: frozenset({"this", "expressions", "ignore_nulls"}),
    exp.Round: frozenset({"this", "decimals"}),
    exp.Log: frozenset({"this", "expression"}),
    exp.DPipe: frozenset({"this", "expression", "safe"}),
    exp.Substring: frozenset({"this", "start", "length"}),
    exp.Left: frozenset({"this", "expression"}),
    exp.Right: frozenset({"this", "expression"}),
    exp.DateDiff: frozenset({"this", "expression", "unit", "date_part_boundary"}),
    exp.Cast: frozenset({"this", "to"}),
    exp.TryCast: frozenset({"this", "to", "safe"}),
    exp.Div: frozenset({"this", "expression", "typed", "safe"}),
    **{kind: frozenset({"this", "expression"}) for kind in _COMPARISONS},
    **{kind: frozenset({"this", "expression"}) for kind in _ARITHMETIC if kind is not exp.Div},
    **{kind: frozenset({"this"}) for kind in (*_OF_NUMBERS, *_OF_TEXTS, *_OF_MOMENTS)},
}


# They stand inside of other nodes, which look at them.
INNER = (exp.Identifier, exp.DataType, exp.Var)


def check_parts(node: exp.Expr) -> None:
    """Refuse a node, or a part of it, that is not on the list.

    Raises
    ------
    InvalidExpression
        The message names it.
    """
    kind = type(node)
    allowed = _PARTS.get(kind)
    if allowed is None:
        name = f"the function {node.name[:40]!r}" if kind is exp.Anonymous else kind.__name__
        refuse(node, f"{name} is not allowed in an expression")
    for part, value in node.args.items():
        if part not in allowed and value:
            refuse(node, f"{kind.__name__} with {part} is not allowed in an expression")


class Compiler:
    """Compiles expressions over some columns.

    Parameters
    ----------
    columns
        By name, exactly as it is written, what may be used.
    """

    def __init__(self, columns: Mapping[str, Source]) -> None:
        self._columns = columns
        self._rules: Mapping[type[exp.Expr], Callable[[exp.Expr], Compiled]] = {
            exp.Column: self._column,
            exp.Literal: _of_literal,
            exp.Boolean: lambda node: Compiled("true" if node.this else "false", "boolean"),
            exp.Null: lambda _: Compiled("NULL", "null"),
            exp.Paren: lambda node: self(node.this),
            exp.Neg: self._negative,
            exp.And: lambda node: self._logic(node, "AND"),
            exp.Or: lambda node: self._logic(node, "OR"),
            exp.Not: lambda node: Compiled(f"(NOT {self.condition(node.this)})", "boolean"),
            exp.Is: self._is,
            exp.In: self._in,
            exp.Between: self._between,
            exp.Like: self._like,
            exp.Case: self._case,
            exp.If: lambda node: self._choice(node, [node], node.args.get("false")),
            exp.Coalesce: lambda node: self._alike(node, "coalesce"),
            exp.Least: lambda node: self._alike(node, "least"),
            exp.Greatest: lambda node: self._alike(node, "greatest"),
            exp.Nullif: self._nullif,
            exp.Round: self._round,
            exp.Log: self._log,
            exp.DPipe: self._concat,
            exp.Substring: self._substring,
            exp.Left: lambda node: self._end(node, "left"),
            exp.Right: lambda node: self._end(node, "right"),
            exp.DateDiff: self._difference,
            exp.Cast: self._cast,
            exp.TryCast: self._cast,
        }

    def __call__(self, node: exp.Expr) -> Compiled:
        """Compile a node and all below it.

        Raises
        ------
        InvalidExpression
            Something in it is not on the list, or of a kind that does not fit.
        """
        kind = type(node)
        check_parts(node)
        if kind in self._rules:
            return self._rules[kind](node)
        if kind in _COMPARISONS:
            left, right, _ = self._same(node, [node.this, node.expression])
            return Compiled(f"({left} {_COMPARISONS[kind]} {right})", "boolean")
        if kind in _ARITHMETIC:
            parts = [self._double(side) for side in (node.this, node.expression)]
            return Compiled(_ARITHMETIC[kind].format(*parts), "number")
        if kind in _OF_NUMBERS:
            return Compiled(_OF_NUMBERS[kind].format(self._double(node.this)), "number")
        if kind in _OF_TEXTS:
            sql, gives = _OF_TEXTS[kind]
            return Compiled(sql.format(self._of(node.this, frozenset({"text"}))), gives)
        return Compiled(_OF_MOMENTS[kind].format(self._of(node.this, MOMENTS)), "integer")

    def condition(self, node: exp.Expr) -> str:
        """Compile what must be true or false."""
        return self._of(node, frozenset({"boolean"}))

    def _of(self, node: exp.Expr, kinds: frozenset[Kind]) -> str:
        made = self(node)
        if made.kind not in kinds | {"null"}:
            wanted = " or ".join(sorted(kinds))
            refuse(node, f"this is a {made.kind}, and a {wanted} is needed")
        return made.sql

    def _double(self, node: exp.Expr) -> str:
        made = self(node)
        if made.kind not in NUMBERS | {"null"}:
            refuse(node, f"this is a {made.kind}, and a number is needed")
        return as_kind(made.sql, made.kind, "number")

    def _same(self, node: exp.Expr, sides: list[exp.Expr]) -> list[str]:
        """Compile values that are compared or chosen from, and return their common kind last."""
        made = [self(side) for side in sides]
        if any(each.kind in MOMENTS for each in made):
            # A text beside a date is a date; it is read now, and not row by row.
            wanted: Kind = "timestamp" if any(e.kind == "timestamp" for e in made) else "date"
            made = [
                _moment(side, wanted) if _is_text(side) else each
                for side, each in zip(sides, made, strict=True)
            ]
        kind = common([each.kind for each in made])
        if kind is None:
            kinds = sorted({str(each.kind) for each in made})
            refuse(node, f"a {' and a '.join(kinds)} do not go together", "texts stand in quotes")
        return [*(as_kind(each.sql, each.kind, kind) for each in made), kind]

    def _column(self, node: exp.Expr) -> Compiled:
        name = node.name
        if name not in self._columns:
            import difflib  # noqa: PLC0415 - only needed for the message

            near = difflib.get_close_matches(name, self._columns, n=3)
            refuse(
                node,
                "there is no column of this name that an expression can use",
                f"did you mean {', '.join(near)}?" if near else "names are case-sensitive",
            )
        source = self._columns[name]
        return Compiled(source.sql, source.kind)

    def _negative(self, node: exp.Expr) -> Compiled:
        if isinstance(node.this, exp.Literal):
            made = _of_literal(node.this)
            if made.kind in NUMBERS:
                return Compiled(f"(-{made.sql})", made.kind)
        return Compiled(f"(-{self._double(node.this)})", "number")

    def _logic(self, node: exp.Expr, word: str) -> Compiled:
        sides = [self.condition(side) for side in (node.this, node.expression)]
        return Compiled(f"({f' {word} '.join(sides)})", "boolean")

    def _is(self, node: exp.Expr) -> Compiled:
        what = node.expression
        if isinstance(what, exp.Null):
            return Compiled(f"({self(node.this).sql} IS NULL)", "boolean")
        if isinstance(what, exp.Boolean):
            word = "TRUE" if what.this else "FALSE"
            return Compiled(f"({self.condition(node.this)} IS {word})", "boolean")
        return refuse(node, "after IS stands NULL, TRUE or FALSE")

    def _in(self, node: exp.Expr) -> Compiled:
        if not node.expressions:
            refuse(node, "IN needs a list of values", "for example country IN ('DE', 'FR')")
        value, *choices, _ = self._same(node, [node.this, *node.expressions])
        return Compiled(f"({value} IN ({', '.join(choices)}))", "boolean")

    def _between(self, node: exp.Expr) -> Compiled:
        sides = [node.this, node.args["low"], node.args["high"]]
        value, low, high, _ = self._same(node, sides)
        return Compiled(f"({value} BETWEEN {low} AND {high})", "boolean")

    def _like(self, node: exp.Expr) -> Compiled:
        pattern = node.expression
        if not _is_text(pattern):
            refuse(node, "LIKE needs a pattern in quotes")
        value = self._of(node.this, frozenset({"text"}))
        word = "NOT LIKE" if node.args.get("negate") else "LIKE"
        return Compiled(f"({value} {word} {literal(pattern.name)})", "boolean")

    def _case(self, node: exp.Expr) -> Compiled:
        if node.this is not None:
            refuse(node, "CASE needs conditions", "write CASE WHEN column = 1 THEN …")
        return self._choice(node, node.args["ifs"], node.args.get("default"))

    def _choice(self, node: exp.Expr, ifs: list[exp.Expr], default: exp.Expr | None) -> Compiled:
        conditions = [self.condition(each.this) for each in ifs]
        otherwise = exp.null() if default is None else default
        *values, last, kind = self._same(node, [*(each.args["true"] for each in ifs), otherwise])
        whens = " ".join(
            f"WHEN {condition} THEN {value}"
            for condition, value in zip(conditions, values, strict=True)
        )
        return Compiled(f"(CASE {whens} ELSE {last} END)", kind)  # type: ignore[arg-type] # _same's last

    def _alike(self, node: exp.Expr, function: str) -> Compiled:
        *values, kind = self._same(node, [node.this, *node.expressions])
        return Compiled(f"{function}({', '.join(values)})", kind)  # type: ignore[arg-type] # _same's last

    def _nullif(self, node: exp.Expr) -> Compiled:
        left, right, kind = self._same(node, [node.this, node.expression])
        return Compiled(f"nullif({left}, {right})", kind)  # type: ignore[arg-type] # _same's last

    def _round(self, node: exp.Expr) -> Compiled:
        places = node.args.get("decimals")
        digits = "0" if places is None else _whole(places, 15)
        return Compiled(f"round({self._double(node.this)}, {digits})", "number")

    def _log(self, node: exp.Expr) -> Compiled:
        base, of = (None, node.this) if node.expression is None else (node.this, node.expression)
        if base is not None and not (
            isinstance(base, exp.Literal) and base.name in ("2", "10") and not base.is_string
        ):
            refuse(node, "a logarithm has the base 2 or 10", "or ln(…)")
        log = _OF_NUMBERS[exp.Ln].format(self._double(of))
        function = "log2" if base is not None and base.name == "2" else "log10"
        return Compiled(function + log[2:], "number")

    def _concat(self, node: exp.Expr) -> Compiled:
        sides = [self._of(side, frozenset({"text"})) for side in (node.this, node.expression)]
        # Or one row that doubles its text in many steps would take all memory, and end the run.
        return Compiled(f"left({' || '.join(sides)}, {_MOST_CHARACTERS})", "text")

    def _substring(self, node: exp.Expr) -> Compiled:
        places = [node.args["start"], node.args.get("length")]
        parts = [self._of(node.this, frozenset({"text"}))]
        parts += [_whole(place, _MOST_CHARACTERS) for place in places if place is not None]
        return Compiled(f"substring({', '.join(parts)})", "text")

    def _end(self, node: exp.Expr, function: str) -> Compiled:
        text = self._of(node.this, frozenset({"text"}))
        return Compiled(f"{function}({text}, {_whole(node.expression, _MOST_CHARACTERS)})", "text")

    def _difference(self, node: exp.Expr) -> Compiled:
        unit = node.args["unit"].name.lower()
        if unit not in _UNITS:
            refuse(node, f"the difference of dates is in {', '.join(_UNITS)}")
        # sqlglot has the later date first.
        later, earlier, kind = self._same(node, [node.this, node.expression])
        if kind not in MOMENTS:
            refuse(node, "date_diff needs two dates")
        return Compiled(f"date_diff('{unit}', {earlier}, {later})", "integer")

    def _cast(self, node: exp.Expr) -> Compiled:
        target = _CASTS.get(node.args["to"].this)
        if target is None or node.args["to"].expressions:
            refuse(node, "this type is not allowed", "DOUBLE, BIGINT, VARCHAR, DATE, TIMESTAMP")
        name, kind = target
        if kind in MOMENTS and _is_text(node.this):
            return _moment(node.this, kind)
        made = self(node.this)
        readable = {made.kind, kind} & {"text", "null"}
        if not readable and (made.kind in MOMENTS) != (kind in MOMENTS):
            refuse(node, f"a {made.kind} is not converted to a {kind}")
        return Compiled(f"TRY_CAST({made.sql} AS {name})", kind)


def _is_text(node: exp.Expr) -> bool:
    return isinstance(node, exp.Literal) and node.is_string


def _of_literal(node: exp.Expr) -> Compiled:
    if node.args.get("is_string"):
        return Compiled(literal(node.name), "text")
    if not _NUMBER.fullmatch(node.name):
        refuse(node, "this number is too long or has an exponent", "at most 18 digits")
    if "." in node.name:
        return Compiled(f"{node.name}::DOUBLE", "number")
    return Compiled(f"{int(node.name)}::HUGEINT", "integer")


def _whole(node: exp.Expr, most: int) -> str:
    if not (isinstance(node, exp.Literal) and not node.is_string and node.name.isdecimal()):
        refuse(node, "a whole number is needed here")
    if len(node.name) > _MOST_WHOLE_DIGITS or int(node.name) > most:
        refuse(node, f"this number is larger than {most:,}")
    return str(int(node.name))


def _moment(node: exp.Expr, kind: Kind) -> Compiled:
    """Read a text as a date or a timestamp, now."""
    try:
        if kind == "date":
            text = dt.date.fromisoformat(node.name).isoformat()
            return Compiled(f"DATE {literal(text)}", "date")
        when = dt.datetime.fromisoformat(node.name)
    except ValueError:
        return refuse(node, f"this is no {kind}", "write 2026-01-31, or 2026-01-31 12:00:00")
    naive = when if when.tzinfo is None else when.astimezone(dt.UTC).replace(tzinfo=None)
    return Compiled(f"TIMESTAMP {literal(naive.isoformat(sep=' '))}", "timestamp")
