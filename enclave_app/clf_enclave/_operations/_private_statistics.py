"""``private_statistics``: counts, sums, means and histograms with noise.

Dwork, McSherry, Nissim, Smith, *Calibrating noise to sensitivity in private data analysis* (2006).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from clf_enclave._data import AlignedData
from clf_enclave._operations._context import Context
from clf_enclave._operations._outputs import Output
from clf_enclave._privacy._noise import Noise
from clf_enclave._workspace import literal
from clf_sdk.errors import InvalidJob
from clf_sdk.operations import PrivateStatistics
from clf_sdk.operations._private_statistics import (
    PrivateCount,
    PrivateHistogram,
    PrivateMean,
    PrivateStatistic,
    PrivateSum,
)
from clf_sdk.protocol import NoisedStatistic

OUTPUT = "statistics"
_GRID_BITS = 31
"""Values are rounded to a grid of 2^31 steps between 0 and the larger bound; sums of 2^32 rows are
whole numbers of 64 bits then, and the noise is thousands of times coarser than a step."""
_COVERED = 0.95
_OTHERS, _MISSING = "(others)", "(missing)"

_SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("statistic", pa.string()),
        ("column", pa.string()),
        ("cell", pa.string()),
        ("value", pa.float64()),
        ("plus_minus", pa.float64()),
        ("epsilon", pa.float64()),
    ]
)


@dataclass(frozen=True)
class _Cell:
    """A row of the result; ``plus_minus`` is null where the noise has no such bound."""

    cell: str | None
    value: float
    plus_minus: float | None


@dataclass(frozen=True)
class _Release:
    """One statistic as it goes out, and what was done to it."""

    cells: list[_Cell]
    noise: list[tuple[Noise, float]]  # each with the unit of its numbers


def run(context: Context[PrivateStatistics]) -> dict[str, Output]:
    """Release statistics with noise.

    Returns
    -------
    dict
        ``statistics``: ``name``, ``statistic``, ``column``, ``cell`` (of a histogram), ``value``,
        ``plus_minus`` (the noise is smaller in 95 of 100 runs) and ``epsilon``.

    Raises
    ------
    InvalidJob
        A column is missing, or of no type that the statistic takes.
    """
    rows = context.disclosure.changed_rows
    columns: dict[str, list[Any]] = {name: [] for name in _SCHEMA.names}
    for statistic in context.parameters.statistics:
        released = _RELEASES[type(statistic)](context.data, statistic, rows)
        for scale in released.noise:
            context.disclosure.note_noise(OUTPUT, _noised(statistic, *scale))
        for cell in released.cells:
            columns["name"].append(statistic.name)
            columns["statistic"].append(statistic.kind)
            columns["column"].append(statistic.column)
            columns["epsilon"].append(statistic.epsilon)
            for field, value in vars(cell).items():
                columns[field].append(value)
    return {OUTPUT: pa.table(columns, schema=_SCHEMA)}


def _noised(statistic: PrivateStatistic, noise: Noise, unit: float) -> NoisedStatistic:
    bounds = statistic if isinstance(statistic, PrivateSum | PrivateMean) else None
    return NoisedStatistic(
        name=statistic.name,
        epsilon=noise.epsilon,
        sensitivity=noise.sensitivity * unit,
        scale=noise.scale * unit,
        lower=None if bounds is None else bounds.lower,
        upper=None if bounds is None else bounds.upper,
    )


def _plus_minus(noise: Noise, unit: float) -> float:
    return noise.scale * unit * -math.log(1 - _COVERED)


def _count(data: AlignedData, statistic: PrivateCount, rows: int) -> _Release:
    known = "count(*)" if statistic.column is None else f"count({_known(data, statistic.column)})"
    (count,) = data.workspace.one(f"SELECT {known} FROM {data.relation}")  # noqa: S608 - names of ours
    noise = Noise(rows, statistic.epsilon)
    (noised,) = noise.add([count])
    return _Release([_Cell(None, float(noised), _plus_minus(noise, 1))], [(noise, 1.0)])


def _known(data: AlignedData, column: str) -> str:
    """Return SQL of a column in which NaN is missing, too."""
    sql, floating = data.sql(column), pa.types.is_floating(_kind(data, column))
    return f"nullif({sql}::DOUBLE, 'nan'::DOUBLE)" if floating else sql


def _number(data: AlignedData, statistic: PrivateSum | PrivateMean) -> str:
    """Return SQL of a column's values as doubles within the bounds; null where one is missing."""
    _check_numbers(data, statistic.column, truths=True)
    value = f"nullif({data.sql(statistic.column)}::DOUBLE, 'nan'::DOUBLE)"
    if statistic.missing is not None:
        value = f"coalesce({value}, {_double(statistic.missing)})"
    # Of null and a bound, least() takes the bound.
    inside = f"greatest(least({value}, {_double(statistic.upper)}), {_double(statistic.lower)})"
    return f"CASE WHEN {value} IS NOT NULL THEN {inside} END"


def _kind(data: AlignedData, column: str) -> pa.DataType:
    data.sql(column)  # or there is no such column
    kind = data.schema.field(column).type
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _check_numbers(data: AlignedData, column: str, *, truths: bool) -> None:
    kind = _kind(data, column)
    numbers = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    if not any(check(kind) for check in numbers) and not (truths and pa.types.is_boolean(kind)):
        raise InvalidJob(f"column {column[:80]!r} has no numbers")


def _double(value: float) -> str:
    return f"'{float(value)!r}'::DOUBLE"


def _grid(largest: float) -> float:
    """Return the step of the grid for values of at most so much: a power of two."""
    return math.ldexp(1.0, math.frexp(largest)[1] - _GRID_BITS)


def _on_grid(value: str, step: float, lowest: int, highest: int) -> str:
    """Return SQL of values as whole numbers of steps, within limits whatever was rounded."""
    rounded = f"CAST(round({value} / {_double(step)}) AS BIGINT)"
    return f"CASE WHEN {value} IS NOT NULL THEN least(greatest({rounded}, {lowest}), {highest}) END"


def _sum(data: AlignedData, statistic: PrivateSum, rows: int) -> _Release:
    value = _number(data, statistic)
    step = _grid(max(abs(statistic.lower), abs(statistic.upper)))
    lowest, highest = round(statistic.lower / step), round(statistic.upper / step)
    (total,) = data.workspace.one(
        f"SELECT coalesce(sum({_on_grid(value, step, lowest, highest)}), 0) FROM {data.relation}"  # noqa: S608 - names of ours
    )
    noise = Noise(rows * max(abs(lowest), abs(highest)), statistic.epsilon)
    (noised,) = noise.add([int(total)])
    cell = _Cell(None, noised * step, _plus_minus(noise, step))
    return _Release([cell], [(noise, step)])


def _mean(data: AlignedData, statistic: PrivateMean, rows: int) -> _Release:
    """Divide a noised sum by a noised count; around the middle, a row changes the sum least."""
    middle = statistic.lower / 2 + statistic.upper / 2
    half = statistic.upper / 2 - statistic.lower / 2
    step = _grid(half)
    farthest = math.ceil(half / step)
    value = _number(data, statistic)
    apart = f"(({value}) - {_double(middle)})"
    total, count = data.workspace.one(
        f"SELECT coalesce(sum({_on_grid(apart, step, -farthest, farthest)}), 0), count({value}) "  # noqa: S608 - names of ours
        f"FROM {data.relation}"
    )
    of_sum = Noise(rows * farthest, statistic.epsilon / 2)
    of_count = Noise(rows, statistic.epsilon / 2)
    (noised,), (number,) = of_sum.add([int(total)]), of_count.add([count])
    mean = middle + noised * step / max(number, 1)
    inside = min(max(mean, statistic.lower), statistic.upper)
    return _Release([_Cell(None, inside, None)], [(of_sum, step), (of_count, 1.0)])


def _histogram(data: AlignedData, statistic: PrivateHistogram, rows: int) -> _Release:
    in_cells = _categories if statistic.edges is None else _edges
    cells, place = in_cells(data, statistic)
    found = data.workspace.execute(
        f"SELECT {place} AS cell, count(*) FROM {data.relation} GROUP BY 1"  # noqa: S608 - names of ours
    ).fetchall()
    counts = dict(found)
    noise = Noise(rows, statistic.epsilon)
    noised = noise.add([counts.get(number, 0) for number in range(len(cells))])
    plus_minus = _plus_minus(noise, 1)
    return _Release(
        [_Cell(cell, float(n), plus_minus) for cell, n in zip(cells, noised, strict=True)],
        [(noise, 1.0)],
    )


def _categories(data: AlignedData, statistic: PrivateHistogram) -> tuple[list[str], str]:
    """Return the cells, and SQL of the number of a row's cell; others and missing ones are last."""
    categories = list(statistic.categories or ())
    kind = _kind(data, statistic.column)
    texts = (pa.types.is_string, pa.types.is_large_string)
    if not any(check(kind) for check in (*texts, pa.types.is_integer, pa.types.is_boolean)):
        raise InvalidJob(f"column {statistic.column[:80]!r} has no categories")
    value = f"{data.sql(statistic.column)}::VARCHAR"
    whens = " ".join(
        f"WHEN {value} = {literal(category)} THEN {number}"
        for number, category in enumerate(categories)
    )
    missing = len(categories) + 1
    return (
        [*categories, _OTHERS, _MISSING],
        f"CASE WHEN {value} IS NULL THEN {missing} {whens} ELSE {len(categories)} END",
    )


def _edges(data: AlignedData, statistic: PrivateHistogram) -> tuple[list[str], str]:
    edges = list(statistic.edges or ())
    _check_numbers(data, statistic.column, truths=False)
    value = f"nullif({data.sql(statistic.column)}::DOUBLE, 'nan'::DOUBLE)"
    whens = " ".join(
        f"WHEN {value} < {_double(edge)} THEN {number}" for number, edge in enumerate(edges)
    )
    said = [f"{edge:.15g}" for edge in edges]
    inner = [f"[{low}, {high})" for low, high in itertools.pairwise(said)]
    return (
        [f"below {said[0]}", *inner, f"from {said[-1]}", _MISSING],
        f"CASE WHEN {value} IS NULL THEN {len(edges) + 1} {whens} ELSE {len(edges)} END",
    )


_RELEASES: Mapping[type[Any], Callable[[AlignedData, Any, int], _Release]] = {
    PrivateCount: _count,
    PrivateSum: _sum,
    PrivateMean: _mean,
    PrivateHistogram: _histogram,
}
