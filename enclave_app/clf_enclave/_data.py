"""The aligned table, as operations see it: whole, in batches, or by SQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import pyarrow as pa

from clf_enclave._workspace import Workspace
from clf_sdk.errors import InvalidJob

BATCH_ROWS = 122_880  # DuckDB's own row group
MOST_REMEMBERED = 3_000_000
"""Most persons of all sets together that are told apart; of more only the sizes are compared."""


@dataclass(frozen=True)
class Column:
    """A column: its name in the database, and the inputs that it was made from."""

    physical: str
    sources: frozenset[str]


@dataclass(frozen=True)
class Persons:
    """How the persons of one input are told apart in the aligned table.

    Attributes
    ----------
    input
        Name of the input.
    physical
        Column with one value a person, null where a row has nothing of this input; None when each
        row holds exactly one row of the input and no two the same.
    row
        Column with the number of the input's row, null where there is none; None when rows need
        not be known again in another run.
    """

    input: str
    physical: str | None
    row: str | None = None


@dataclass(frozen=True)
class AlignedData:
    """Rows and columns in a workspace.

    Attributes
    ----------
    workspace
        The database.
    relation
        Table or view that holds the rows.
    all_columns
        By name, in order: keys, and all others.
    keys
        Names of the columns on which the inputs were aligned.
    persons
        For each input how its persons are counted.
    split
        Name of the column that is true for test rows; None when the job does not split.
    counted
        Number of rows, where it is known without looking at them.
    streamed
        Whether the rows are read again from where they lie for each query, because they do not
        fit in memory.
    """

    workspace: Workspace = field(repr=False)
    relation: str
    all_columns: Mapping[str, Column]
    keys: tuple[str, ...]
    persons: tuple[Persons, ...]
    split: str | None = None
    counted: int | None = None
    streamed: bool = False

    @property
    def columns(self) -> list[str]:
        """Names of the columns to compute with: all but the keys and the split."""
        return [name for name in self.all_columns if name not in self.keys and name != self.split]

    @cached_property
    def rows(self) -> int:
        """Number of rows."""
        if self.counted is not None:
            return self.counted
        count: int = self.workspace.one(f"SELECT count(*) FROM {self.relation}")[0]  # noqa: S608 - a name of ours
        return count

    @cached_property
    def schema(self) -> pa.Schema:
        """Arrow types of all columns, by their names."""
        return self._named(
            self.workspace.arrow(self._select(list(self.all_columns), limit=0))
        ).schema

    def sql(self, column: str) -> str:
        """Return what a column is called in the database.

        Raises
        ------
        InvalidJob
            There is no such column.
        """
        if column not in self.all_columns:
            raise InvalidJob(
                f"the aligned table has no column {column[:80]!r}",
                hint=f"it has: {', '.join(self.columns[:20])}",
            )
        return self.all_columns[column].physical

    def _select(self, columns: Sequence[str], *, limit: int | None = None) -> str:
        chosen = ", ".join(self.sql(name) for name in columns) or "NULL"
        tail = "" if limit is None else f" LIMIT {limit}"
        return f"SELECT {chosen} FROM {self.relation}{tail}"  # noqa: S608 - names of ours

    def _named(self, table: pa.Table) -> pa.Table:
        names = {column.physical: name for name, column in self.all_columns.items()}
        return table.rename_columns([names.get(name, name) for name in table.column_names])

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return columns as a whole, by default those to compute with."""
        chosen = self.columns if columns is None else list(columns)
        return self._named(self.workspace.arrow(self._select(chosen)))

    def batches(
        self, columns: Sequence[str] | None = None, *, rows: int = BATCH_ROWS
    ) -> Iterator[pa.Table]:
        """Yield columns piece by piece, in the order of `table`; memory is about one piece."""
        chosen = self.columns if columns is None else list(columns)
        for batch in self.workspace.batches(self._select(chosen), rows):
            yield self._named(pa.Table.from_batches([batch]))

    def batches_with_persons(
        self, columns: Sequence[str], *, rows: int = BATCH_ROWS
    ) -> Iterator[tuple[pa.Table, pa.Table]]:
        """Yield what `with_persons` returns piece by piece; memory is about one piece."""
        width = len(columns)
        chosen = [self.sql(name) for name in columns]
        chosen += [each.physical for each in self.persons if each.physical is not None]
        select = f"SELECT {', '.join(chosen) or 'NULL'} FROM {self.relation}"  # noqa: S608 - names of ours
        for batch in self.workspace.batches(select, rows):
            found = pa.Table.from_batches([batch])
            yield (
                found.select(range(width)).rename_columns(list(columns)),
                found.select(range(width, len(chosen))),
            )

    def with_persons(
        self, columns: Sequence[str], *, ordered: bool = False
    ) -> tuple[pa.Table, pa.Table]:
        """Return columns as a whole, and beside them what tells the persons of each input apart.

        Parameters
        ----------
        columns
            Names of columns.
        ordered
            Whether the rows come in the order of their values, so that it does not show how the
            owners keep them.
        """
        own = [self.sql(name) for name in columns]
        persons = [each.physical for each in self.persons if each.physical is not None]
        order = f" ORDER BY {', '.join(own)}" if ordered else ""
        select = f"SELECT {', '.join([*own, *persons])} FROM {self.relation}{order}"  # noqa: S608 - names of ours
        found = self.workspace.arrow(select)
        numbers = range(len(own))
        return (
            found.select(list(numbers)).rename_columns(list(columns)),
            found.select(list(range(len(own), len(own) + len(persons)))),
        )

    def fewest_people_sql(self, condition: str | None = None) -> str:
        """Return SQL that aggregates to the number of rows, or of the persons of the input that
        has fewest of them there; persons of an input without any do not count.
        """  # noqa: D205 - one sentence
        only = "" if condition is None else f" FILTER (WHERE {condition})"
        persons = [
            f"nullif(count(DISTINCT {each.physical}){only}, 0)"
            for each in self.persons
            if each.physical is not None
        ]
        return f"least({', '.join([f'count(*){only}', *persons])})"

    @property
    def training(self) -> AlignedData:
        """The rows to fit a model to: all, or all but the test rows where the job splits."""
        return self if self.split is None else self.where(f"NOT {self.sql(self.split)}")

    @property
    def testing(self) -> AlignedData | None:
        """The test rows; None when the job does not split."""
        return None if self.split is None else self.where(self.sql(self.split))

    def where(self, condition: str) -> AlignedData:
        """Return the rows that meet a condition of our own making over names of the database."""
        view = self.workspace.view(f"SELECT * FROM {self.relation} WHERE {condition}")  # noqa: S608 - the caller's promise
        return replace(self, relation=view, counted=None)

    def complete(self, columns: Sequence[str]) -> AlignedData:
        """Return the rows that have a finite value in each of some columns."""
        conditions = []
        for name in columns:
            physical = self.sql(name)
            conditions.append(f"{physical} IS NOT NULL")
            if pa.types.is_floating(self.schema.field(name).type):
                conditions.append(f"isfinite({physical})")
        return self.where(" AND ".join(conditions) or "true")

    def count_persons(self) -> dict[str, int]:
        """Count the distinct persons of each input in these rows."""
        counted = [each for each in self.persons if each.physical is not None]
        counts = {each.input: self.rows for each in self.persons}
        if counted:
            parts = ", ".join(f"count(DISTINCT {each.physical})" for each in counted)
            found = self.workspace.one(f"SELECT {parts} FROM {self.relation}")  # noqa: S608 - names of ours
            counts |= {each.input: count for each, count in zip(counted, found, strict=True)}
        return counts
