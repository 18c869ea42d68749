"""``aggregate``: counts, sums and means in groups, by SQL.

Reveals: the table that the query makes, without small groups, without numbers that few people
shape or make up, and without further ones from which those could be computed back; counts rounded
where an owner asks for that. The query of the job is
never run: what is run is written anew from its checked parts. Source: Hundepool et al.,
*Statistical Disclosure Control* (2012), chapters 3 and 4; computed by DuckDB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa

from clf_enclave._data import AlignedData
from clf_enclave._disclosure import Disclosure
from clf_enclave._dominance import Dominated, dominated
from clf_enclave._operations._context import Context
from clf_enclave._operations._outputs import Output
from clf_enclave._preparation import expression_sources
from clf_enclave._suppression import Mask, hidden_cells
from clf_sdk.errors import InvalidJob
from clf_sdk.expressions import Compiled, GroupQuery, Measure
from clf_sdk.operations import Aggregate

MOST_GROUPS = 100_000
OUTPUT = "groups"
_NUMBERS = ("integer", "number")
_SUMS = ("sum", "avg")
_COUNTS = ("count", "count_distinct")
_SQL = {
    "count": "count({0})",
    "count_distinct": "count(DISTINCT {0})",
    "avg": "favg({0}::DOUBLE)",
    "stddev": "stddev_samp({0}::DOUBLE)",
    "variance": "var_samp({0}::DOUBLE)",
}


@dataclass(frozen=True)
class _Grouped:
    """The rows of the query, with columns for its keys and for what is aggregated.

    Attributes
    ----------
    data
        The rows; `relation` has the columns below, too.
    keys
        Columns of the keys, by name.
    arguments
        By expression the column that holds it, and its kind.
    """

    data: AlignedData
    keys: Mapping[str, str]
    arguments: Mapping[str, Compiled]

    @property
    def by(self) -> str:
        """The end of a query over the groups; the same order for each."""
        keys = ", ".join(self.keys.values())
        return f" GROUP BY {keys} ORDER BY {keys}" if keys else ""

    def query(self, columns: Sequence[str], relation: str) -> pa.Table:
        """Return a row a group."""
        chosen = ", ".join([*self.keys.values(), *columns])
        return self.data.workspace.arrow(f"SELECT {chosen} FROM {relation}{self.by}")  # noqa: S608 - names of ours


def _grouped(data: AlignedData, query: GroupQuery) -> _Grouped:
    usable = expression_sources(data)
    rows = data if query.where is None else data.where(query.where.condition(usable))
    workspace = data.workspace
    added: list[str] = []
    keys: dict[str, str] = {}
    for name, expression in query.keys.items():
        keys[name] = workspace.name("g")
        added.append(f"{expression.compile(usable).sql} AS {keys[name]}")
    arguments: dict[str, Compiled] = {}
    for measure in query.measures:
        if measure.of is None or measure.of.text in arguments:
            continue
        made = measure.of.compile(usable)
        column = workspace.name("a")
        sql = f"CASE WHEN isfinite({made.sql}) THEN {made.sql} END"
        added.append(f"{sql if made.kind == 'number' else made.sql} AS {column}")
        arguments[measure.of.text] = Compiled(column, made.kind)
    if added:
        view = workspace.view(f"SELECT *, {', '.join(added)} FROM {rows.relation}")  # noqa: S608 - compiled from what was checked
        rows = replace(rows, relation=view)
    return _Grouped(rows, keys, arguments)


def _measured(measure: Measure, arguments: Mapping[str, Compiled]) -> str:
    if measure.of is None:
        return "count(*)"
    argument = arguments[measure.of.text]
    if measure.function in ("count", "count_distinct"):
        return _SQL[measure.function].format(argument.sql)
    if argument.kind not in _NUMBERS:
        raise InvalidJob(
            f"aggregate: {measure.function} takes numbers, and {measure.name[:80]!r} has none"
        )
    if measure.function == "sum":
        if argument.kind == "integer":
            return f"TRY_CAST(sum({argument.sql}) AS BIGINT)"
        return f"fsum({argument.sql})"
    return _SQL[measure.function].format(argument.sql)


def _shaped_by_few(grouped: _Grouped, context: Context[Aggregate]) -> dict[str, Mask]:
    """Say for each argument in which groups its numbers are shaped by too few people.

    They are where few lack a value, or where all but few have one value: a sum of what is 1 for
    one person and 0 for all others is a group of one. So is the difference of two sums that
    differ for one person only.
    """
    data, workspace = grouped.data, grouped.data.workspace
    columns = {text: each.sql for text, each in grouped.arguments.items()}
    numeric = [text for text, each in grouped.arguments.items() if each.kind in _NUMBERS]
    compared: dict[tuple[str, ...], str] = {(text,): columns[text] for text in numeric}
    compared |= {
        (first, second): f"({columns[first]}::DOUBLE - {columns[second]}::DOUBLE)"
        for first, second in combinations(numeric, 2)
    }
    keys = list(grouped.keys.values())
    others = [workspace.name("o") for _ in keys]
    common = {pair: workspace.name("m") for pair in compared}
    made = [
        *(f"{key} AS {other}" for key, other in zip(keys, others, strict=True)),
        *(f"approx_top_k({sql}, 1)[1] AS {common[pair]}" for pair, sql in compared.items()),
    ]
    asked: list[str] = []
    for sql in columns.values():
        asked.append(data.fewest_people_sql(f"{sql} IS NULL"))
        asked.append(data.fewest_people_sql(f"{sql} IS NOT NULL"))
    for pair, sql in compared.items():
        unlike = f"{sql} <> {common[pair]}"
        people = data.fewest_people_sql(unlike)
        asked.append(f"CASE WHEN 2 * count(*) FILTER (WHERE {unlike}) < count(*) THEN {people} END")
    relation = data.relation
    if compared:
        ends = f" GROUP BY {', '.join(keys)}" if keys else ""
        found = workspace.table(f"SELECT {', '.join(made)} FROM {data.relation}{ends}")  # noqa: S608 - names of ours
        same = " AND ".join(
            f"{key} IS NOT DISTINCT FROM {other}" for key, other in zip(keys, others, strict=True)
        )
        # As values of a sub-query, and not by a join: the database takes rows that are read anew
        # for few, and would keep all of them to look the groups up in.
        looked_up = ", ".join(
            f"(SELECT {name} FROM {found} WHERE {same or 'true'}) AS {name}"  # noqa: S608 - names of ours
            for name in common.values()
        )
        relation = f"(SELECT *, {looked_up} FROM {data.relation})"  # noqa: S608 - the same
    counts = grouped.query(asked, relation).columns[len(keys) :]
    few = [
        np.array([not context.disclosure.may_show([each or 0]) for each in column.to_pylist()])
        for column in counts
    ]
    shaped = {text: few[2 * number] | few[2 * number + 1] for number, text in enumerate(columns)}
    for pair, mask in zip(compared, few[2 * len(columns) :], strict=True):
        # Of two that may not stand together, the later one is hidden.
        shaped[pair[-1]] = shaped[pair[-1]] | mask
    return shaped


def _dominated(
    grouped: _Grouped, query: GroupQuery, context: Context[Aggregate]
) -> dict[str, Dominated]:
    """Say for each argument that is summed in which groups few people make up the sum."""
    found = {}
    for measure in query.measures:
        text = None if measure.of is None else measure.of.text
        if text is None or text in found or measure.function not in _SUMS:
            continue
        held = dominated(
            grouped.data,
            grouped.arguments[text].sql,
            keys=list(grouped.keys.values()),
            rules=context.disclosure.rules.dominance,
        )
        if held is not None:
            found[text] = held
    return found


def _hide(column: Any, hidden: Mask) -> pa.Array:
    values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return pa.array(
        [None if hide else value for value, hide in zip(values.to_pylist(), hidden, strict=True)],
        values.type,
    )


def run(context: Context[Aggregate]) -> dict[str, Output]:
    """Count and sum in groups.

    Returns
    -------
    dict
        ``groups``: the query's columns, one row a group, in the order of the keys. Groups that
        may not be shown are left out; a number alone that may not be shown is null.

    Raises
    ------
    InvalidJob, InvalidExpression
        The query does not fit the table.
    PolicyRefused
        The query is over fewer people than the smallest group, or its groups are too many and too
        small to tell that nothing can be computed back.
    """
    query = GroupQuery.parse(context.parameters.sql)
    disclosure, smallest = context.disclosure, context.disclosure.rules.smallest_group
    grouped = _grouped(context.data, query)
    data = grouped.data
    disclosure.check_group(data)
    disclosure.note_checked(OUTPUT, "smallest_group", "complementary", "dominance", "round_counts")
    measured = [_measured(measure, grouped.arguments) for measure in query.measures]
    counted = [_counted(measure, grouped.arguments) for measure in query.measures]
    found = grouped.query([data.fewest_people_sql(), *measured, *counted], data.relation)
    if found.num_rows > MOST_GROUPS:
        raise InvalidJob(f"aggregate: the query makes more than {MOST_GROUPS:,} groups")
    width = len(query.keys)
    keys = list(zip(*(column.to_pylist() for column in found.columns[:width]), strict=True))
    keys = keys or [()] * found.num_rows
    people = found.column(width).to_numpy()
    overlap = any(each.physical is not None for each in data.persons)

    def hidden_with(small: Mask) -> Mask:
        counted = np.where(small, np.minimum(people, smallest - 1), people)
        return hidden_cells(keys, counted, smallest_group=smallest, overlap=overlap)

    small = people < smallest
    hidden = hidden_with(small)
    disclosure.note_small(
        OUTPUT, people[small].tolist(), complementary=int((hidden & ~small).sum())
    )
    shaped: Mapping[str, Mask] = {}
    if smallest > 1 and grouped.arguments:
        shaped = _shaped_by_few(grouped, context)
    by_few = _dominated(grouped, query, context)
    columns: dict[str, Any] = dict(zip(query.keys, found.columns[:width], strict=True))
    values, counts = found.columns[width + 1 :][: len(measured)], found.columns[-len(counted) :]
    for measure, column, of in zip(query.measures, values, counts, strict=True):
        text = None if measure.of is None else measure.of.text
        few = shaped.get(text or "", np.zeros_like(small))
        over = by_few.get(text or "") if measure.function in _SUMS else None
        unsafe = few if over is None else few | over.any
        shown = _rounded(measure, column, of, disclosure)
        if unsafe.any():
            # Of sums that few people make up, too, others must not give them away.
            hide = hidden_with(unsafe | small)
            disclosure.note_small(OUTPUT, [smallest - 1] * int((few & ~hidden).sum()))
            rest = hide & ~hidden & ~few
            if over is not None:
                at = over.any & rest
                disclosure.note_dominated(OUTPUT, over.broken(at), int(at.sum()))
                rest &= ~at
            disclosure.note_complementary(OUTPUT, int(rest.sum()))
            shown = _hide(shown, hide | unsafe)
        columns[measure.name] = shown
    if width:
        shown = found.select(range(width)).filter(pa.array(~hidden))
        disclosure.note_groups(data, list(grouped.keys.values()), shown)
    table = pa.table({name: columns[name] for name in query.names})
    return {OUTPUT: table.filter(pa.array(~hidden))}


def _counted(measure: Measure, arguments: Mapping[str, Compiled]) -> str:
    return "count(*)" if measure.of is None else f"count({arguments[measure.of.text].sql})"


def _rounded(measure: Measure, column: Any, counted: Any, disclosure: Disclosure) -> Any:
    """Return a measure with its count rounded where owners ask for that.

    A sum becomes the mean times the rounded count: else it would tell the count, as the sum of
    ones does, or beside the mean.
    """
    if disclosure.rules.round_counts == 1 or measure.function not in (*_COUNTS, "sum"):
        return column
    values = column.to_pylist()
    if measure.function in _COUNTS:
        return pa.array([disclosure.shown_count(each) for each in values], pa.int64())
    of = counted.to_pylist()
    made = [
        None if value is None or not count else value / count * disclosure.shown_count(count)
        for value, count in zip(values, of, strict=True)
    ]
    if pa.types.is_integer(column.type):
        return pa.array([None if each is None else round(each) for each in made], column.type)
    return pa.array(made, column.type)
