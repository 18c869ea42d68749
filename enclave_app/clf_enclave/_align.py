"""Align the inputs: an inner join on keys (docs/protocol.md §3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from clf_sdk.errors import InvalidJob

_ROW = "row "  # the blank keeps it apart from any key column


def _check(tables: Mapping[str, pa.Table], keys: Sequence[str]) -> None:
    types: dict[str, pa.DataType] = {}
    owners: dict[str, str] = {}
    for name, table in tables.items():
        for key in keys:
            if key not in table.column_names:
                raise InvalidJob(f"input {name!r} has no key column {key!r}")
            kind = table.schema.field(key).type
            if pa.types.is_nested(kind) or pa.types.is_floating(kind):
                raise InvalidJob(
                    f"key column {key!r} of input {name!r} has type {kind}",
                    hint="join on whole numbers, text or dates",
                )
            if types.setdefault(key, kind) != kind:
                raise InvalidJob(
                    f"key column {key!r} has type {types[key]} in one input and {kind} in {name!r}",
                    hint="share the key with the same type everywhere",
                )
        for column in table.column_names:
            if column in keys:
                continue
            if column in owners:
                raise InvalidJob(
                    f"inputs {owners[column]!r} and {name!r} both have a column {column[:80]!r}",
                    hint="choose the columns of one input so that each name stands once",
                )
            owners[column] = name


def _keyed(name: str, table: pa.Table, keys: Sequence[str], number: int) -> pa.Table:
    """Return the keys of an input and the number of each row; null keys match nothing."""
    keyed = table.select(keys)
    rows = (
        pa.array(range(0), pa.int64())
        if not len(keyed)
        else pc.subtract(pc.cumulative_sum(pa.repeat(pa.scalar(1, pa.int64()), len(keyed))), 1)
    )
    keyed = keyed.append_column(f"{_ROW}{number}", rows).drop_null()
    if keyed.group_by(list(keys), use_threads=False).aggregate([]).num_rows != len(keyed):
        raise InvalidJob(
            f"the keys of input {name!r} are not unique",
            hint="each key must name one row; aggregate the table before you share it",
        )
    return keyed


def inner_join(tables: Mapping[str, pa.Table], keys: Sequence[str]) -> pa.Table:
    """Join inputs on keys that name one row in each of them.

    Rows come out in the order of the keys, so that the result does not depend on the order in
    which any owner keeps its table. Columns: the keys, then those of each input in turn.

    Parameters
    ----------
    tables
        The inputs, by name.
    keys
        Names of the key columns.

    Raises
    ------
    InvalidJob
        A key is missing, has different types or repeats, or two inputs share a column name.
    """
    _check(tables, keys)
    inputs = list(tables.items())
    joined = _keyed(*inputs[0], keys, 0)
    for number, (name, table) in enumerate(inputs[1:], start=1):
        joined = joined.join(_keyed(name, table, keys, number), list(keys), join_type="inner")
    joined = joined.sort_by([(key, "ascending") for key in keys])
    result = joined.select(list(keys))
    for number, (_, table) in enumerate(inputs):
        rows = joined.column(f"{_ROW}{number}")
        others = [column for column in table.column_names if column not in keys]
        for column in others:
            result = result.append_column(table.schema.field(column), table[column].take(rows))
    return result
