"""Walk the job's alignment from the inputs to one table (docs/protocol.md §3.4)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import pyarrow as pa

from clf_enclave._alignment._duplicates import resolve
from clf_enclave._alignment._keys import comparable, equal_sql, kind_of
from clf_enclave._alignment._link import link
from clf_enclave._alignment._node import Part, carried
from clf_enclave._data import MOST_REMEMBERED, AlignedData, Column, Persons
from clf_enclave._spill import Renamed, Stream
from clf_enclave._workspace import Workspace, literal
from clf_sdk.errors import InvalidJob
from clf_sdk.protocol import (
    AlignNode,
    InputNode,
    JoinMember,
    JoinNode,
    KeepDuplicates,
    UnionNode,
    inputs_of,
    walk,
)


@dataclass(frozen=True)
class Aligned:
    """The aligned table.

    Attributes
    ----------
    data
        Its rows.
    persons
        Persons of each input before the alignment; rows, where its owner names no entity column.
    """

    data: AlignedData
    persons: Mapping[str, int]


def align(
    workspace: Workspace,
    tree: AlignNode,
    tables: Mapping[str, Input],
    *,
    entities: Mapping[str, str],
    hidden: Collection[str] = (),
    remembered: Collection[str] = (),
    matches: bool = False,
    first_row: int = 0,
) -> Aligned:
    """Make one table of the inputs of a job.

    Where an input is a stream, nothing is computed yet, and the result is read anew for each query.

    Parameters
    ----------
    workspace
        Where it is made.
    tree
        How.
    tables
        The inputs by name.
    entities
        By input, the column whose values are its persons, where an owner names one.
    hidden
        Inputs whose entity column is there for counting alone: it is no column of the job's.
    remembered
        Inputs of which each row must be known again in another run.
    matches
        Whether the rows of each input must be told apart, for a match report.
    first_row
        Number of the first row of each input.

    Raises
    ------
    InvalidJob
        The tables can't be aligned so; the message names columns, never values.
    """
    told_apart = _repeated(tree, entities, matches=matches)
    walker = _Walker(workspace, tables, entities, hidden, told_apart, first_row)
    walker.remembered = remembered
    part = walker.part(tree)
    order = f" ORDER BY {', '.join(part.order)}" if part.order else ""
    physical = [*(column.physical for column in part.columns.values()), *part.carried]
    select = f"SELECT {', '.join(physical) or 'NULL'} FROM {part.relation}{order}"  # noqa: S608 - names of ours
    streamed = any(isinstance(table, Stream) for table in tables.values())
    data = AlignedData(
        workspace=workspace,
        relation=workspace.view(select) if streamed else workspace.table(select),
        all_columns=part.columns,
        keys=part.keys,
        persons=part.persons,
        counted=count_rows(tables[tree.input]) if isinstance(tree, InputNode) else None,
        streamed=streamed,
    )
    return Aligned(data, walker.persons)


Input: TypeAlias = "pa.Table | Stream"


def count_rows(table: Input) -> int:
    """Return how many rows an input has."""
    return table.rows if isinstance(table, Stream) else table.num_rows


def person_sql(column: str) -> str:
    """Return SQL for whose a row is.

    Rows that do not say it count as those of one person: a null would mean that they have nothing
    of their input.
    """
    return f"coalesce(CAST({column} AS VARCHAR), '')"


def _renamed(table: Input, names: list[str]) -> Input:
    return Renamed(table, names) if isinstance(table, Stream) else table.rename_columns(names)


def _repeated(tree: AlignNode, entities: Mapping[str, str], *, matches: bool) -> set[str]:
    """Return the inputs whose rows may stand in the aligned table several times, or not at all.

    Only for those it takes a column to count them.
    """
    if matches:
        return set(inputs_of(tree))
    found = set(entities)
    for node, _ in walk(tree):
        if isinstance(node, JoinNode):
            kept = [isinstance(member.duplicates, KeepDuplicates) for member in node.members]
            for number, member in enumerate(node.members):
                others_repeat = any(kept) and not kept[number]
                if others_repeat or (node.how == "left" and number):
                    found.update(inputs_of(member.of))
        elif not isinstance(node, InputNode):
            found.update(inputs_of(node))
    return found


class _Walker:
    def __init__(
        self,
        workspace: Workspace,
        tables: Mapping[str, Input],
        entities: Mapping[str, str],
        hidden: Collection[str],
        counted: set[str],
        first_row: int,
    ) -> None:
        self._workspace = workspace
        self._tables = tables
        self._entities = entities
        self._hidden = hidden
        self._counted = counted
        self._first_row = first_row
        self.persons: dict[str, int] = {}
        self.remembered: Collection[str] = ()

    def part(self, node: AlignNode) -> Part:
        """Return what a node becomes."""
        if isinstance(node, InputNode):
            return self._input(node.input)
        if isinstance(node, JoinNode):
            return self._join(node)
        if isinstance(node, UnionNode):
            return self._union(node)
        return link(self._workspace, node, self.part(node.left.of), self.part(node.right.of))

    def _input(self, name: str) -> Part:
        table = self._tables[name]
        named = {
            column: Column(self._workspace.name("c"), frozenset({name}))
            for column in table.schema.names
        }
        aside = self._entities[name] if name in self._hidden else None
        columns = {column: made for column, made in named.items() if column != aside}
        if not columns:
            raise InvalidJob(f"input {name!r} has no columns")
        physical = [column.physical for column in named.values()]
        relation = self._workspace.register(_renamed(table, physical))
        self.persons[name] = count_rows(table)
        person = None
        if name in self._counted:
            person = self._workspace.name("p")
            entity = self._entities.get(name)
            if entity is None:
                made = f"row_number() OVER () + {self._first_row}"
            elif entity in named:
                made = person_sql(named[entity].physical)
            else:
                raise InvalidJob(
                    f"input {name!r} lacks column {entity[:80]!r}, by which people are counted",
                    hint="choose this column, too",
                )
            relation = self._workspace.view(f"SELECT *, {made} AS {person} FROM {relation}")  # noqa: S608 - names of ours
            if entity is not None:
                counted = f"SELECT count(DISTINCT {person}) FROM {relation}"  # noqa: S608 - names of ours
                self.persons[name] = self._workspace.one(counted)[0]
        row = None
        if name in self.remembered and count_rows(table) <= MOST_REMEMBERED:
            row = self._workspace.name("r")
            made = f"row_number() OVER () + {self._first_row}" if person is None else person
            relation = self._workspace.view(f"SELECT *, {made} AS {row} FROM {relation}")  # noqa: S608 - names of ours
        return Part(relation, columns, (Persons(name, person, row),))

    def _keyed(self, node: JoinNode, member: JoinMember) -> tuple[Part, list[str], list[str]]:
        """Return a member with its keys made comparable, their names, and their kinds."""
        part = self.part(member.of)
        named = member.columns or [key.name for key in node.keys]
        types = self._workspace.types(part.relation)
        whose = "+".join(inputs_of(member.of))
        made, keys, kinds = [], [], []
        for key, name in zip(node.keys, named, strict=True):
            if name not in part.columns:
                raise InvalidJob(f"input {whose!r} has no key column {name[:80]!r}")
            column = part.columns[name].physical
            physical = self._workspace.name("k")
            made.append(f"{comparable(column, types[column], key)} AS {physical}")
            keys.append(physical)
            kinds.append(key.read_as or kind_of(types[column]))
        others = {
            f"{member.prefix}{name}": column
            for name, column in part.columns.items()
            if name not in named and name not in part.keys
        }
        view = self._workspace.view(f"SELECT *, {', '.join(made)} FROM {part.relation}")  # noqa: S608 - names of ours
        keyed = Part(view, others, part.persons, order=part.order)
        if node.nulls == "refuse":
            null = " OR ".join(f"{key} IS NULL" for key in keys)
            if self._workspace.one(f"SELECT EXISTS (SELECT 1 FROM {view} WHERE {null})")[0]:  # noqa: S608 - names of ours
                raise InvalidJob(
                    f"input {whose!r} has rows whose key is missing or can't be read as declared",
                    hint='set nulls to "unmatched" to let such rows match nothing',
                )
        return resolve(self._workspace, keyed, member, keys), keys, kinds

    def _join(self, node: JoinNode) -> Part:
        members = [self._keyed(node, member) for member in node.members]
        for number, key in enumerate(node.keys):
            kinds = {kinds[number] for _, _, kinds in members}
            if len(kinds) > 1:
                raise InvalidJob(
                    f"key column {key.name[:80]!r} has type {' and '.join(sorted(kinds))} in "
                    "different inputs",
                    hint='say how it is compared: read_as "text", "number" or "date"',
                )
        base, base_keys, _ = members[0]
        columns = {
            key.name: Column(physical, frozenset(inputs_of(node)))
            for key, physical in zip(node.keys, base_keys, strict=True)
        }
        owners = dict.fromkeys(columns, "the keys")
        for member, (part, _, _) in zip(node.members, members, strict=True):
            whose = "+".join(inputs_of(member.of))
            for name, column in part.columns.items():
                if name in columns:
                    raise InvalidJob(
                        f"{owners[name]!r} and {whose!r} both have a column {name[:80]!r}",
                        hint="choose columns so that each name stands once, or give one a prefix",
                    )
                columns[name], owners[name] = column, whose
        source = base.relation
        types: dict[str, str] = {}
        for part, keys, _ in members:
            found = self._workspace.types(part.relation)
            types |= {key: found[key] for key in keys}
        for part, keys, _ in members[1:]:
            equal = " AND ".join(
                equal_sql((ours, types[ours]), (theirs, types[theirs]))
                for ours, theirs in zip(base_keys, keys, strict=True)
            )
            source += (
                f" {'LEFT' if node.how == 'left' else 'INNER'} JOIN {part.relation} ON {equal}"
            )
        known = " AND ".join(f"{key} IS NOT NULL" for key in base_keys)
        kept = f" WHERE {known}" if node.how == "inner" else ""
        persons = tuple(each for part, _, _ in members for each in part.persons)
        physical = [column.physical for column in columns.values()]
        view = self._workspace.view(
            f"SELECT {', '.join([*physical, *carried(persons)])} FROM {source}{kept}"  # noqa: S608 - names of ours
        )
        return Part(
            view, columns, persons, tuple(key.name for key in node.keys), self._order(node, members)
        )

    @staticmethod
    def _order(node: JoinNode, members: list[tuple[Part, list[str], list[str]]]) -> tuple[str, ...]:
        """Return what puts the rows in one order, in whichever order owners keep their tables."""
        order = list(members[0][1])
        for member, (part, _, _) in zip(node.members, members, strict=True):
            if isinstance(member.duplicates, KeepDuplicates):
                order += [column.physical for column in part.columns.values()]
        if node.how == "left" and not isinstance(node.members[0].duplicates, KeepDuplicates):
            # Rows of the base without a key are equal in it.
            order += [column.physical for column in members[0][0].columns.values()]
        return tuple(dict.fromkeys(order))

    def _union(self, node: UnionNode) -> Part:
        parts = [self.part(child) for child in node.of]
        first = parts[0]
        columns = {
            name: Column(self._workspace.name("c"), frozenset(inputs_of(node)))
            for name in first.columns
        }
        if node.source is not None:
            if node.source in columns:
                raise InvalidJob(f"the inputs have a column {node.source[:80]!r} already")
            columns[node.source] = Column(self._workspace.name("c"), frozenset(inputs_of(node)))
        persons = [
            Persons(
                each.input,
                self._workspace.name("p"),
                None if each.row is None else self._workspace.name("r"),
            )
            for part in parts
            for each in part.persons
        ]
        expected = self._kinds(first)
        selects = []
        for child, part in zip(node.of, parts, strict=True):
            whose = "+".join(inputs_of(child))
            self._same_schema(expected, self._kinds(part), whose)
            made = [
                f"{part.columns[name].physical} AS {columns[name].physical}"
                for name in first.columns
            ]
            if node.source is not None:
                made.append(f"{literal(whose)} AS {columns[node.source].physical}")
            own = {each.input: each for each in part.persons}
            for each in persons:
                ours = own.get(each.input)
                made.append(f"{(ours and ours.physical) or 'NULL'} AS {each.physical}")
                if each.row is not None:
                    made.append(f"{(ours and ours.row) or 'NULL'} AS {each.row}")
            selects.append(f"SELECT {', '.join(made)} FROM {part.relation}")  # noqa: S608 - names of ours
        keys = first.keys if all(part.keys == first.keys for part in parts) else ()
        return Part(
            self._workspace.view(" UNION ALL ".join(selects)), columns, tuple(persons), keys
        )

    def _kinds(self, part: Part) -> dict[str, str]:
        types = self._workspace.types(part.relation)
        return {name: kind_of(types[column.physical]) for name, column in part.columns.items()}

    @staticmethod
    def _same_schema(expected: dict[str, str], found: dict[str, str], whose: str) -> None:
        for name in [*expected, *found]:
            if name not in found or name not in expected:
                raise InvalidJob(
                    f"input {whose!r} is united with another that has other columns: {name[:80]!r}",
                    hint="choose the same columns of each input of a union",
                )
            if expected[name] != found[name]:
                raise InvalidJob(
                    f"column {name[:80]!r} is a {expected[name]} in one input of a union and a "
                    f"{found[name]} in {whose!r}",
                    hint="share it with the same type everywhere",
                )
