"""What becomes of rows with equal keys (docs/protocol.md §3.4, step 3)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from clf_enclave._alignment._keys import kind_of
from clf_enclave._alignment._node import Part
from clf_enclave._data import Column, Persons
from clf_enclave._workspace import Workspace
from clf_sdk.errors import InvalidJob
from clf_sdk.protocol import (
    AggregateDuplicates,
    FirstDuplicate,
    JoinMember,
    RefuseDuplicates,
    inputs_of,
)

# Sums are of doubles, whose error is compensated: whole numbers would overflow with an error that
# depends on the values.
_SUMMARIES = {
    "count": "count({})",
    "sum": "fsum({}::DOUBLE)",
    "mean": "favg({}::DOUBLE)",
    "min": "min({})",
    "max": "max({})",
    "any": "bool_or({})",
    "all": "bool_and({})",
}


def resolve(workspace: Workspace, part: Part, member: JoinMember, keys: list[str]) -> Part:
    """Return a member whose keys, where they are not null, name one row each.

    Parameters
    ----------
    workspace
        The database.
    part
        The member, with its comparable keys.
    member
        How the job declares it.
    keys
        Names of the keys in the database.

    Raises
    ------
    InvalidJob
        They repeat, and the job says that they must not.
    """
    rule = member.duplicates
    listed = ", ".join(keys)
    known = " AND ".join(f"{key} IS NOT NULL" for key in keys)
    if isinstance(rule, RefuseDuplicates):
        _refuse(workspace, part, member, keys)
        return part
    if isinstance(rule, FirstDuplicate):
        order = [_column(part, name, member).physical for name in rule.order_by]
        rest = [each.physical for each in part.columns.values() if each.physical not in order]
        sorting = ", ".join(f"{name} NULLS LAST" for name in [*order, *rest])
        window = f"row_number() OVER (PARTITION BY {listed} ORDER BY {sorting}) = 1"
        # Without its keys a row is nobody's duplicate.
        select = f"SELECT * FROM {part.relation} QUALIFY NOT ({known}) OR {window}"  # noqa: S608 - names of ours
        return replace(part, relation=workspace.view(select))
    if isinstance(rule, AggregateDuplicates):
        return _aggregate(workspace, part, member, keys)
    return part


def _column(part: Part, name: str, member: JoinMember) -> Column:
    if name not in part.columns:
        raise InvalidJob(f"{_whose(member)} has no column {name[:80]!r} for its duplicates")
    return part.columns[name]


def _whose(member: JoinMember) -> str:
    return f"input {'+'.join(inputs_of(member.of))!r}"


def _refuse(workspace: Workspace, part: Part, member: JoinMember, keys: list[str]) -> None:
    listed = ", ".join(keys)
    known = " AND ".join(f"{key} IS NOT NULL" for key in keys)
    # Equal keys have equal hashes, and sorting these is many times cheaper than grouping keys.
    hashed = workspace.arrow(f"SELECT hash({listed}) AS h FROM {part.relation} WHERE {known}")  # noqa: S608 - names of ours
    hashes = np.sort(hashed["h"].to_numpy())
    if not (hashes[1:] == hashes[:-1]).any():
        return
    repeated = f"SELECT 1 FROM {part.relation} WHERE {known} GROUP BY {listed} HAVING count(*) > 1"  # noqa: S608 - names of ours
    if workspace.one(f"SELECT EXISTS ({repeated})")[0]:
        raise InvalidJob(
            f"the keys of {_whose(member)} are not unique",
            hint="each key must name one row; or choose the first row, or aggregate them",
        )


def _aggregate(workspace: Workspace, part: Part, member: JoinMember, keys: list[str]) -> Part:
    assert isinstance(member.duplicates, AggregateDuplicates)  # noqa: S101 - for type checkers
    types = workspace.types(part.relation)
    columns: dict[str, Column] = {}
    parts = list(keys)
    for name, summary in member.duplicates.columns.items():
        column = _column(part, name, member)
        kind = types[column.physical]
        _check_summary(name, summary, kind)
        made = workspace.name("c")
        parts.append(f"{_SUMMARIES[summary].format(column.physical)} AS {made}")
        columns[name] = Column(made, column.sources)
    persons = []
    for each in part.persons:
        # One of the rows' persons stands for all: a count of persons can only get smaller.
        physical, row = (
            None if column is None else (workspace.name("p"), column)
            for column in (each.physical, each.row)
        )
        parts += [f"min({of}) AS {made}" for made, of in filter(None, (physical, row))]
        persons.append(Persons(each.input, physical and physical[0], row and row[0]))
    known = " AND ".join(f"{key} IS NOT NULL" for key in keys)
    select = (
        f"SELECT {', '.join(parts)} FROM {part.relation} WHERE {known} GROUP BY {', '.join(keys)}"  # noqa: S608 - names of ours
    )
    return replace(part, relation=workspace.view(select), columns=columns, persons=tuple(persons))


def _check_summary(name: str, summary: str, kind: str) -> None:
    numeric = (
        kind in ("FLOAT", "DOUBLE", "BOOLEAN")
        or kind.startswith("DECIMAL")
        or kind_of(kind) == "whole number"
    )
    if (summary in ("sum", "mean") and not numeric) or (
        summary in ("any", "all") and kind != "BOOLEAN"
    ):
        raise InvalidJob(
            f"column {name[:80]!r} has type {kind[:40]}, which has no {summary}",
            hint="sum and mean are for numbers, any and all for truth values",
        )
