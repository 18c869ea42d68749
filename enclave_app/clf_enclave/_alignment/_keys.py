"""Make keys comparable, as the job declares (docs/protocol.md §3.4, step 2)."""

from __future__ import annotations

import re

from clf_enclave._workspace import literal
from clf_sdk.errors import InvalidJob
from clf_sdk.protocol import JoinKey

_WHOLE = {
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "HUGEINT",
    "UTINYINT",
    "USMALLINT",
    "UINTEGER",
    "UBIGINT",
}
# Intervals are equal that differ as texts: 30 days, and a month.
_NO_KEYS = ("number with a fraction", "struct", "map", "interval")
_BLANKS = r"^\s+|\s+$"
_NUMBER = r"\s*[+-]?[0-9]{1,18}(\.0*)?\s*"
_MOST_EXACT = 2**53
_MOST_DIGITS = 38


def kind_of(sql_type: str) -> str:
    """Return the kind of a column that decides what it can be compared with."""
    if sql_type in _WHOLE:
        return "whole number"
    if sql_type == "VARCHAR" or sql_type.startswith("ENUM"):
        return "text"
    if sql_type in ("FLOAT", "DOUBLE"):
        return "number with a fraction"
    return sql_type.split("(", maxsplit=1)[0].lower()


def _text(column: str, kind: str) -> str | None:
    if kind in ("text", "whole number", "uuid"):
        return f"{column}::VARCHAR"
    return f"strftime({column}, '%Y-%m-%d')" if kind == "date" else None


def _number(column: str, kind: str) -> str | None:
    if kind == "whole number":
        return f"{column}::HUGEINT"
    if kind == "number with a fraction":
        whole = f"{column} = trunc({column}) AND abs({column}) < {_MOST_EXACT}"
        return f"CASE WHEN {whole} THEN {column}::HUGEINT END"
    if kind == "text":
        digits = f"regexp_extract({column}, '[+-]?[0-9]+')"
        return f"CASE WHEN regexp_full_match({column}, '{_NUMBER}') THEN {digits}::HUGEINT END"
    return None


def _date(column: str, kind: str, formats: list[str]) -> str | None:
    if kind == "date":
        return column
    if kind.startswith("timestamp"):
        return f"{column}::DATE"
    if kind == "text":
        listed = ", ".join(map(literal, formats))
        return f"try_strptime(regexp_replace({column}, '{_BLANKS}', '', 'g'), [{listed}])::DATE"
    return None


def comparable(column: str, sql_type: str, key: JoinKey) -> str:
    """Return the SQL of a key column's values in the form in which they are compared.

    What can not be read as declared is null; no value makes it fail.

    Parameters
    ----------
    column
        Name in the database.
    sql_type
        Its type there.
    key
        How it is declared.

    Raises
    ------
    InvalidJob
        The column's type can't be a key, or not read as declared.
    """
    kind = kind_of(sql_type)
    if key.read_as is None:
        if sql_type.endswith("]") or kind in _NO_KEYS:
            raise InvalidJob(
                f"key column {key.name[:80]!r} has type {sql_type[:40]}",
                hint='join on whole numbers, text or dates; read_as="number" reads 7.0 as 7',
            )
        made: str | None = column
    elif key.read_as == "text":
        made = _text(column, kind)
    elif key.read_as == "number":
        made = _number(column, kind)
    else:
        made = _date(column, kind, key.date_formats)
    if made is None:
        raise InvalidJob(
            f"key column {key.name[:80]!r} has type {sql_type[:40]}, which can't be read as a "
            f"{key.read_as}"
        )
    is_text = key.read_as == "text" or (key.read_as is None and kind == "text")
    if is_text and key.trim:
        made = f"nullif(regexp_replace({made}, '{_BLANKS}', '', 'g'), '')"
    if is_text and key.fold_case:
        made = f"lower(nfc_normalize({made}))"
    return made


def equal_sql(ours: tuple[str, str], theirs: tuple[str, str]) -> str:
    """Return SQL of whether two keys, each with its type, are equal. No value makes it fail."""
    scales = [_scale(sql_type) for _, sql_type in (ours, theirs)]
    if None in scales or scales[0] == scales[1]:
        return f"{ours[0]} = {theirs[0]}"
    # The database would widen both to one scale, and end the run where the digits do not suffice;
    # a number that does not fit is equal to none that does.
    wide = f"DECIMAL({_MOST_DIGITS}, {max(scale or 0 for scale in scales)})"
    return " = ".join(f"TRY_CAST({key} AS {wide})" for key, _ in (ours, theirs))


def _scale(sql_type: str) -> int | None:
    """Return how many decimals a type has; None where it is no decimal."""
    found = re.fullmatch(r"DECIMAL\(\d+,\s*(\d+)\)", sql_type)
    return None if found is None else int(found[1])
