"""``describe``: counts, moments, quantiles, categories, correlations and cross-tabulations.

Reveals: numbers over groups that owners allow, and nothing else. No smallest or largest value; a
quantile only with a whole group on either side; a category, or a cell of a cross-tabulation, only
with a whole group in it, and where all others would give it away by subtraction, neither with
another one. Source: moments as in Joanes and Gill, *Comparing measures of sample skewness and
kurtosis* (1998), G1 and G2; quantiles of type 7 in Hyndman and Fan (1996); computed by DuckDB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa

from clf_enclave._data import AlignedData
from clf_enclave._dominance import dominated
from clf_enclave._operations._context import Context
from clf_enclave._operations._outputs import Output
from clf_enclave._operations._terms import is_number, is_text
from clf_enclave._suppression import hidden_cells
from clf_sdk.errors import InvalidJob
from clf_sdk.operations import Describe

_SKETCHED = 8
_CLEARLY_MORE = 3
_MOMENTS = ("mean", "std", "skewness", "kurtosis")
_MOMENTS_SQL = "avg({0}), stddev_samp({0}), skewness({0}), kurtosis({0})"


@dataclass(frozen=True)
class _Column:
    """A column as it is described: its values in SQL, null where one is missing or not finite."""

    name: str
    kind: pa.DataType
    sql: str
    counted: bool
    """Whether its categories are counted, not its moments taken."""


def _column(data: AlignedData, name: str) -> _Column:
    physical = data.sql(name)
    kind = data.schema.field(name).type
    if pa.types.is_floating(kind):
        physical = f"CASE WHEN isfinite({physical}) THEN {physical} END"
    return _Column(name, kind, physical, is_text(kind) or pa.types.is_boolean(kind))


def _moments(context: Context[Describe], column: _Column) -> dict[str, Any]:
    """Return moments and quantiles of a column of numbers."""
    data, chosen = context.data, context.parameters
    # In 64-bit floats, as data frames have them, whatever the owners keep.
    value = f"CAST({column.sql} AS DOUBLE)"
    asked = ", ".join(f"{quantile!r}" for quantile in chosen.quantiles)
    found = data.workspace.one(
        f"SELECT {_MOMENTS_SQL.format(value)}, quantile_cont({value}, [{asked}]) "  # noqa: S608 - names of ours, and numbers
        f"FROM {data.relation}"
    )
    moments = dict(zip(_MOMENTS, found, strict=False))
    # The mean times the count is the sum.
    held = dominated(data, value, rules=context.disclosure.rules.dominance)
    if held is not None and held.any.any():
        context.disclosure.note_dominated("columns", held.broken(held.any), len(_MOMENTS))
        moments = dict.fromkeys(_MOMENTS)
    quantiles = found[-1]
    sides = ", ".join(
        f"{data.fewest_people_sql(f'{value} <= {edge!r}')}, "
        f"{data.fewest_people_sql(f'{value} >= {edge!r}')}"
        for edge in quantiles
    )
    beside = data.workspace.one(f"SELECT {sides} FROM {data.relation}")  # noqa: S608 - the same
    for number, quantile in enumerate(chosen.quantiles):
        shown = context.disclosure.may_show(beside[2 * number : 2 * number + 2])
        if not shown:
            context.disclosure.note_small("columns", [min(beside[2 * number : 2 * number + 2])])
        moments[_quantile_name(quantile)] = quantiles[number] if shown else None
    return moments


def _quantile_name(quantile: float) -> str:
    return f"q{100 * quantile:g}"


def _describe_columns(context: Context[Describe], columns: Sequence[_Column]) -> pa.Table:
    data, disclosure = context.data, context.disclosure
    names = [*_MOMENTS, *(_quantile_name(each) for each in context.parameters.quantiles)]
    described = []
    for column in columns:
        missing = f"{column.sql} IS NULL"
        present = f"{column.sql} IS NOT NULL"
        count, there, absent, spread = data.workspace.one(
            f"SELECT count({column.sql}), {data.fewest_people_sql(present)}, "  # noqa: S608 - names of ours
            f"{data.fewest_people_sql(missing)}, {_unlike_sql(data, column)} FROM {data.relation}"
        )
        row: dict[str, Any] = {"column": column.name, "type": str(column.kind)}
        shown = disclosure.may_show([there, absent])
        row["count"] = disclosure.shown_count(count) if shown else None
        row["missing"] = disclosure.shown_count(data.rows - count) if shown else None
        if not shown:
            disclosure.note_small("columns", [min(there or absent, absent or there)] * 2)
        whole = shown and count and disclosure.may_show([spread])
        numeric = is_number(column.kind) and not column.counted
        taken = whole and numeric
        if numeric and count and not whole:
            few = [there, absent, spread or 0]
            disclosure.note_small("columns", [min(each for each in few if each)] * len(names))
        row |= _moments(context, column) if taken else dict.fromkeys(names)
        described.append(row)
    kinds = {"column": pa.large_string(), "type": pa.large_string()}
    kinds |= {"count": pa.int64(), "missing": pa.int64()} | dict.fromkeys(names, pa.float64())
    return pa.Table.from_pylist(described, pa.schema(list(kinds.items())))


def _unlike_sql(data: AlignedData, column: _Column) -> str:
    """Return SQL that counts the people whose value is not that of most; null if most differ.

    Where all others have one value, the mean gives away what these few have. Memory does not grow
    with the number of values: of each value that more than a small share of the rows has, the
    sketch knows how often it stands, and only one that most rows have matters.
    """
    common = f"(SELECT approx_top_k({column.sql}, {_SKETCHED})[1] FROM {data.relation})"  # noqa: S608 - names of ours
    others = f"{column.sql} <> {common}"
    people = data.fewest_people_sql(others)
    return f"CASE WHEN 2 * count(*) FILTER (WHERE {others}) < count(*) THEN {people} END"


def _cells(
    context: Context[Describe], columns: Sequence[_Column], output: str
) -> tuple[list[tuple[Any, ...]], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Count categories, or combinations of categories; say which cells stay hidden.

    Returns
    -------
    tuple
        The categories of each cell that is not empty, its rows, and whether it stays hidden.
    """
    data, disclosure = context.data, context.disclosure
    keys = ", ".join(column.sql for column in columns)
    found = data.workspace.execute(
        f"SELECT {keys}, count(*), {data.fewest_people_sql()} FROM {data.relation} "  # noqa: S608 - names of ours
        f"GROUP BY {keys} ORDER BY {keys}"
    ).fetchall()
    categories = [row[:-2] for row in found]
    rows = np.array([row[-2] for row in found], dtype=np.int64)
    people = np.array([row[-1] for row in found], dtype=np.int64)
    hidden = hidden_cells(
        categories,
        people,
        smallest_group=disclosure.rules.smallest_group,
        overlap=any(each.physical is not None for each in data.persons),
    )
    small = people < disclosure.rules.smallest_group
    disclosure.note_small(
        output, people[small].tolist(), complementary=int((hidden & ~small).sum())
    )
    return categories, rows, hidden


def _check_categories(context: Context[Describe], column: _Column) -> bool:
    """Return whether a column has few enough values to be counted.

    Where a sketch tells that there are far too many, none of them is kept.
    """
    data, most = context.data, context.parameters.most_categories
    about: int = data.workspace.one(
        f"SELECT approx_count_distinct({column.sql}) FROM {data.relation}"  # noqa: S608 - names of ours
    )[0]
    if about > _CLEARLY_MORE * most:
        return False
    distinct: int = data.workspace.one(
        f"SELECT count(DISTINCT {column.sql}) FROM {data.relation}"  # noqa: S608 - names of ours
    )[0]
    return distinct <= most


def _text(value: Any) -> str | None:
    return str(value).lower() if isinstance(value, bool) else None if value is None else str(value)


def _count_categories(context: Context[Describe], columns: Sequence[_Column]) -> pa.Table:
    counted: dict[str, list[Any]] = {"column": [], "category": [], "count": [], "share": []}
    for column in columns:
        if not column.counted or not _check_categories(context, column):
            continue
        categories, rows, hidden = _cells(context, [column], "categories")
        total = context.disclosure.shown_count(context.data.rows)
        for (category,), count, hide in zip(categories, rows, hidden, strict=True):
            if not hide:
                counted["column"].append(column.name)
                counted["category"].append(_text(category))
                shown = context.disclosure.shown_count(int(count))
                counted["count"].append(shown)
                counted["share"].append(shown / total if total else None)
    kinds = [pa.large_string(), pa.large_string(), pa.int64(), pa.float64()]
    return pa.table(
        {
            name: pa.array(values, kind)
            for (name, values), kind in zip(counted.items(), kinds, strict=True)
        }
    )


def _correlate(context: Context[Describe], columns: Sequence[_Column]) -> pa.Table:
    data, disclosure = context.data, context.disclosure
    chosen = [column for column in columns if is_number(column.kind) and not column.counted]
    found: list[dict[str, Any]] = []
    for first, second in combinations(chosen, 2):
        both = f"{first.sql} IS NOT NULL AND {second.sql} IS NOT NULL"
        counts = [
            data.fewest_people_sql(both),
            data.fewest_people_sql(f"NOT ({both})"),
            _unlike_sql(data, first),
            _unlike_sql(data, second),
        ]
        number, together, *people = data.workspace.one(
            f"SELECT count(*) FILTER (WHERE {both}), corr({first.sql}, {second.sql}), "  # noqa: S608 - names of ours
            f"{', '.join(counts)} FROM {data.relation}"
        )
        shown = disclosure.may_show(people)
        if not shown:
            disclosure.note_small("correlations", [min(each for each in people if each)] * 2)
        finite = together is not None and np.isfinite(together)
        found.append(
            {
                "first": first.name,
                "second": second.name,
                "rows": disclosure.shown_count(number) if shown else None,
                "correlation": together if shown and finite else None,
            }
        )
    kinds = {"first": pa.large_string(), "second": pa.large_string()}
    kinds |= {"rows": pa.int64(), "correlation": pa.float64()}
    return pa.Table.from_pylist(found, pa.schema(list(kinds.items())))


def _cross(context: Context[Describe], pair: Sequence[str]) -> list[dict[str, Any]]:
    columns = [_column(context.data, name) for name in pair]
    for column in columns:
        if not _check_categories(context, column):
            raise InvalidJob(
                f"column {column.name!r} has too many different values for a cross-tabulation",
                hint="bin it in the job's preparation, or allow more by most_categories",
            )
    categories, rows, hidden = _cells(context, columns, "cross_tabulations")
    return [
        {
            "first": pair[0],
            "second": pair[1],
            "first_category": _text(category[0]),
            "second_category": _text(category[1]),
            "count": context.disclosure.shown_count(int(count)),
        }
        for category, count, hide in zip(categories, rows, hidden, strict=True)
        if not hide
    ]


def run(context: Context[Describe]) -> dict[str, Output]:
    """Describe the table.

    Returns
    -------
    dict
        ``columns``: one row a column, with ``column``, ``type``, ``count``, ``missing``, ``mean``,
        ``std``, ``skewness``, ``kurtosis`` and a quantile each; ``categories``: ``column``,
        ``category``, ``count``, ``share``; where asked for, ``correlations``: ``first``,
        ``second``, ``rows``, ``correlation``, over rows that have both; and
        ``cross_tabulations``: ``first``, ``second``, ``first_category``, ``second_category``,
        ``count``. What may not be shown is null, or left out where a category alone would tell.

    Raises
    ------
    InvalidJob
        There is no such column.
    PolicyRefused
        The table has fewer people than the smallest group.
    """
    chosen, data = context.parameters, context.data
    context.disclosure.check_group(data)
    context.disclosure.note_checked("columns", "smallest_group", "dominance", "round_counts")
    for counted in ("categories", "correlations", "cross_tabulations"):
        context.disclosure.note_checked(counted, "smallest_group", "round_counts")
    names = data.columns if chosen.columns is None else list(chosen.columns)
    columns = [_column(data, name) for name in names]
    outputs: dict[str, Output] = {
        "columns": _describe_columns(context, columns),
        "categories": _count_categories(context, columns),
    }
    if chosen.correlations:
        outputs["correlations"] = _correlate(context, columns)
    if chosen.cross_tabulations:
        kinds = dict.fromkeys(
            ["first", "second", "first_category", "second_category"], pa.large_string()
        )
        cells = [cell for pair in chosen.cross_tabulations for cell in _cross(context, pair)]
        outputs["cross_tabulations"] = pa.Table.from_pylist(
            cells, pa.schema([*kinds.items(), ("count", pa.int64())])
        )
    return outputs
