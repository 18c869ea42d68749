"""Do the steps of a job's preparation (docs/protocol.md §3.5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from clf_enclave._data import AlignedData, Column
from clf_enclave._disclosure import Disclosure
from clf_enclave._workspace import literal
from clf_sdk.errors import InvalidExpression, InvalidJob
from clf_sdk.expressions import Expression, Kind, Source, kind_of_type
from clf_sdk.protocol import (
    BinStep,
    DeriveStep,
    FilterStep,
    ImputeStep,
    OneHotStep,
    PrepareStep,
    SelectStep,
    SplitStep,
    StandardiseStep,
)

_MOST_CATEGORIES = 1000
_HASHED = 2**64
_NUMBERS: tuple[Kind, ...] = ("integer", "number")
_FINITE = "nullif(nullif(nullif({}, 'nan'::DOUBLE), 'infinity'::DOUBLE), '-infinity'::DOUBLE)"


def prepare(data: AlignedData, steps: Sequence[PrepareStep], disclosure: Disclosure) -> AlignedData:
    """Do steps in their order, each on the result of the one before.

    A column that is made of others has the sources of all of them, so what an owner demands for
    its table holds for it, too.

    Parameters
    ----------
    data
        The aligned table.
    steps
        The job's preparation.
    disclosure
        The owners' rules.

    Raises
    ------
    InvalidJob, InvalidExpression
        A step does not fit the table; the message names it by its number, and never a value.
    PolicyRefused
        A step leaves too few people.
    """
    if not steps:
        return data
    prepared = data
    for number, step in enumerate(steps, start=1):
        try:
            prepared = _STEPS[step.kind](prepared, step, disclosure)
        except (InvalidJob, InvalidExpression) as error:
            raise type(error)(f"step {number}: {error.message}", hint=error.hint) from None
    if prepared.streamed:
        return prepared
    # Computed once: an operation may go through the rows many times.
    workspace = prepared.workspace
    select = f"SELECT * FROM {prepared.relation}"  # noqa: S608 - a name of ours
    return replace(prepared, relation=workspace.table(select))


def _source(physical: str, kind: pa.DataType) -> Source | None:
    found = kind_of_type(kind)
    if found is None:
        return None
    if pa.types.is_floating(kind):  # NaN is a missing value
        return Source(f"nullif({physical}::DOUBLE, 'nan'::DOUBLE)", found)
    if found == "number":
        return Source(f"{physical}::DOUBLE", found)
    if found == "timestamp":
        zone = " AT TIME ZONE 'UTC'" if kind.tz is not None else ""
        return Source(f"({physical}{zone})::TIMESTAMP", found)
    return Source(physical, found)


def expression_sources(data: AlignedData) -> dict[str, Source]:
    """Return the columns that expressions can use, by name."""
    made = {
        name: _source(column.physical, data.schema.field(name).type)
        for name, column in data.all_columns.items()
    }
    return {name: source for name, source in made.items() if source is not None}


def _one(data: AlignedData, name: str, kinds: Sequence[Kind]) -> Source:
    physical = data.sql(name)
    source = _source(physical, data.schema.field(name).type)
    if source is None or source.kind not in kinds:
        raise InvalidJob(
            f"column {name[:80]!r} is no {' or '.join(kinds)}", hint="derive one that fits from it"
        )
    return source


def _not_a_key(data: AlignedData, name: str) -> None:
    if name in data.keys or name == data.split:
        raise InvalidJob(f"column {name[:80]!r} is a key or the split, and can't be replaced")


def _stored(sql: str, kind: Kind) -> str:
    """Return an expression as its values are kept: whole numbers in 64 bits, numbers finite."""
    if kind == "number":
        return _FINITE.format(sql)
    return f"TRY_CAST({sql} AS BIGINT)" if kind in ("integer", "null") else sql


def _replaced(
    data: AlignedData, made: Mapping[str, tuple[str, frozenset[str]]], *, dropped: str | None = None
) -> AlignedData:
    """Return the table with columns added or replaced: by name, their SQL and their sources."""
    workspace = data.workspace
    columns = {name: column for name, column in data.all_columns.items() if name != dropped}
    added = []
    for name, (sql, sources) in made.items():
        physical = workspace.name("c")
        added.append(f"{sql} AS {physical}")
        columns[name] = Column(physical, sources)
    view = workspace.view(f"SELECT *, {', '.join(added)} FROM {data.relation}")  # noqa: S608 - compiled from what was checked
    return replace(data, relation=view, all_columns=columns)


def _training(data: AlignedData) -> str:
    """Return where statistics come from: the training rows, once the job has divided them."""
    return "" if data.split is None else f" WHERE NOT {data.sql(data.split)}"


def _filter(data: AlignedData, step: FilterStep, disclosure: Disclosure) -> AlignedData:
    kept = data.where(Expression.parse(step.where).condition(expression_sources(data)))
    disclosure.check_group(kept)
    return kept


def _derive(data: AlignedData, step: DeriveStep, _disclosure: Disclosure) -> AlignedData:
    _not_a_key(data, step.column)
    expression = Expression.parse(step.expression)
    made = expression.compile(expression_sources(data))
    sources: frozenset[str] = frozenset().union(
        *(data.all_columns[name].sources for name in expression.columns)
    )
    return _replaced(data, {step.column: (_stored(made.sql, made.kind), sources)})


def _select(data: AlignedData, step: SelectStep, _disclosure: Disclosure) -> AlignedData:
    kept = [*data.keys, *([] if data.split is None else [data.split])]
    for name in step.columns:
        data.sql(name)
    names = dict.fromkeys([*kept, *step.columns])
    return replace(data, all_columns={name: data.all_columns[name] for name in names})


def _bin(data: AlignedData, step: BinStep, _disclosure: Disclosure) -> AlignedData:
    _not_a_key(data, step.column)
    source = _one(data, step.column, _NUMBERS)
    labels = list(map(str, range(len(step.edges) + 1)))
    if step.labels is not None:
        labels = list(map(literal, step.labels))
    whens = " ".join(
        f"WHEN {source.sql} < {_double(edge)} THEN {label}"
        for edge, label in zip(step.edges, labels, strict=False)
    )
    sql = f"CASE WHEN {source.sql} IS NULL THEN NULL {whens} ELSE {labels[-1]} END"
    sources = data.all_columns[step.column].sources
    return _replaced(data, {step.column: (sql, sources)})


def _double(value: float) -> str:
    return f"'{value!r}'::DOUBLE"


def _standardise(data: AlignedData, step: StandardiseStep, _disclosure: Disclosure) -> AlignedData:
    made = {}
    for name in step.columns:
        _not_a_key(data, name)
        value = f"({_one(data, name, _NUMBERS).sql})::DOUBLE"
        mean, deviation = data.workspace.one(
            f"SELECT favg({value}), stddev_samp({value}) FROM {data.relation}{_training(data)}"  # noqa: S608 - names of ours
        )
        if not deviation:
            raise InvalidJob(f"column {name[:80]!r} is constant, and can't be standardised")
        sql = f"({value} - {_double(mean)}) / {_double(deviation)}"
        made[name] = (_FINITE.format(sql), data.all_columns[name].sources)
    return _replaced(data, made)


def _one_hot(data: AlignedData, step: OneHotStep, disclosure: Disclosure) -> AlignedData:
    _not_a_key(data, step.column)
    value = f"({_one(data, step.column, ('text', 'integer', 'boolean')).sql})::VARCHAR"
    persons = [each.physical for each in data.persons if each.physical is not None]
    counts = ", ".join(["count(*)", *(f"count(DISTINCT {physical})" for physical in persons)])
    found: dict[str, list[int]] = {
        category: counted
        for category, *counted in data.workspace.execute(
            f"SELECT {value}, {counts} FROM {data.relation} WHERE {value} IS NOT NULL "  # noqa: S608 - names of ours
            f"GROUP BY ALL ORDER BY 1 LIMIT {_MOST_CATEGORIES * 100}"
        ).fetchall()
    }
    categories = step.categories
    if categories is None:
        categories = [name for name, counted in found.items() if disclosure.may_show(counted)]
        if not categories or len(categories) > _MOST_CATEGORIES:
            raise InvalidJob(
                f"column {step.column[:80]!r} has no category that enough people have, or more "
                f"than {_MOST_CATEGORIES:,}",
                hint="name the categories, or put it into bins",
            )
    else:
        for name in categories:
            disclosure.check_counts(found.get(name, [0]))
    sources = data.all_columns[step.column].sources
    made = {
        f"{step.column}={name}": (
            f"CASE WHEN {value} IS NOT NULL THEN ({value} = {literal(name)})::TINYINT END",
            sources,
        )
        for name in categories[1 if step.drop_first else 0 :]
    }
    if taken := [name for name in made if name in data.all_columns]:
        raise InvalidJob(f"there is a column {taken[0][:80]!r} already")
    return _replaced(data, made, dropped=step.column)


def _impute(data: AlignedData, step: ImputeStep, _disclosure: Disclosure) -> AlignedData:
    made = {}
    for name in step.columns:
        _not_a_key(data, name)
        any_kind: tuple[Kind, ...] = (*_NUMBERS, "text", "date", "timestamp", "boolean")
        of_numbers = step.fill_with in ("mean", "median")
        source = _one(data, name, _NUMBERS if of_numbers else any_kind)
        kind: Kind = "number" if of_numbers else source.kind
        value = f"({source.sql})::DOUBLE" if kind == "number" else source.sql
        filling = _filling(data, step, name, source, value)
        sql = f"coalesce({value}, {filling})"
        made[name] = (_stored(sql, kind), data.all_columns[name].sources)
    return _replaced(data, made)


def _filling(data: AlignedData, step: ImputeStep, name: str, source: Source, value: str) -> str:
    if step.fill_with == "value":
        return _given(step, name, source.kind)
    if step.fill_with == "mode":
        # The most frequent, the smallest of several: never whichever the database meets first.
        where = _training(data)
        known = f"{where} AND" if where else " WHERE"
        return (
            f"(SELECT v FROM (SELECT {value} AS v, count(*) AS n FROM {data.relation}"  # noqa: S608 - names of ours
            f"{known} {value} IS NOT NULL GROUP BY 1) ORDER BY n DESC, v LIMIT 1)"
        )
    function = "favg" if step.fill_with == "mean" else "median"
    return f"(SELECT {function}({value}) FROM {data.relation}{_training(data)})"  # noqa: S608 - names of ours


def _given(step: ImputeStep, name: str, kind: Kind) -> str:
    """Return the value that the job gives, if it is of the column's kind."""
    value: Any = step.value
    if kind == "boolean" and isinstance(value, bool):
        return str(value).lower()
    if kind in _NUMBERS and isinstance(value, float):
        if kind == "number":
            return _double(value)
        if value.is_integer() and abs(value) < _HASHED:
            return f"{int(value)}::HUGEINT"
    elif kind == "text" and isinstance(value, str):
        return literal(value)
    elif kind in ("date", "timestamp") and isinstance(value, str):
        text = f"{'DATE' if kind == 'date' else 'TIMESTAMP'} {literal(value)}"
        return Expression.parse(text).compile({}).sql
    raise InvalidJob(f"column {name[:80]!r} is a {kind}, and the value to fill it with is none")


def _split(data: AlignedData, step: SplitStep, _disclosure: Disclosure) -> AlignedData:
    if data.split is not None:
        raise InvalidJob("the rows are divided twice")
    if step.column in data.all_columns:
        raise InvalidJob(f"there is a column {step.column[:80]!r} already")
    keys = [f"coalesce({data.sql(key)}::VARCHAR, '')" for key in data.keys]
    if not keys:  # a union has none: its rows are numbered
        keys = ["(row_number() OVER ())::VARCHAR"]
    text = " || '/' || ".join([f"'{step.seed}'", *keys])
    hashed = f"('0x' || left(md5({text}), 16))::UBIGINT"
    below = int(step.test_fraction * _HASHED)
    sources: frozenset[str] = frozenset().union(
        *(data.all_columns[key].sources for key in data.keys)
    )
    divided = _replaced(data, {step.column: (f"{hashed} < {below}::HUGEINT", sources)})
    return replace(divided, split=step.column)


_STEPS: Mapping[str, Callable[[AlignedData, Any, Disclosure], AlignedData]] = {
    "filter": _filter,
    "derive": _derive,
    "select": _select,
    "bin": _bin,
    "standardise": _standardise,
    "one_hot": _one_hot,
    "impute": _impute,
    "split": _split,
}
