"""A table on an owner's server, as its users see it: a description, never a value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from clf_sdk._cards import Identifier, Shown, card, grid
from clf_sdk._job_words import moment
from clf_sdk._not_picklable import NotPicklable
from clf_sdk.errors import NotFound
from clf_sdk.protocol import TableDescription

if TYPE_CHECKING:
    import pyarrow as pa

    from clf_sdk._connection import Connection

_SHORT = 12


@dataclass(frozen=True)
class SharedTable(NotPicklable):
    """A sealed table on a server, from `share` or `Connection.table`.

    Attributes
    ----------
    connection
        The server.
    description
        Name, version, rows, columns and types.
    columns
        The columns that a job may ask for; None means all.
    """

    _not_pickled: ClassVar[str] = (
        "it belongs to an open connection; ask again with connection.table(name)"
    )

    connection: Connection = field(repr=False)
    description: TableDescription
    columns: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        chosen = len(self.description.columns) if self.columns is None else len(self.columns)
        size = (
            f"file of {self.rows:,} bytes"
            if self.is_file
            else f"{self.rows:,} rows, {chosen:,} columns"
        )
        warning = ", INSECURE SIMULATION" if self.connection.mode == "simulation" else ""
        return (
            f"SharedTable({self.name!r} on {self.connection.name!r}, {size}, "
            f"version {self.version[:_SHORT]}…{warning})"
        )

    def _repr_html_(self) -> str:
        described = self.description
        chosen = [
            (column.name, column.type)
            for column in described.columns
            if self.columns is None or column.name in self.columns
        ]
        rows: list[tuple[str, Shown]] = [
            ("owner", self.connection.name),
            ("bytes" if self.is_file else "rows", f"{self.rows:,}"),
            ("version", Identifier(self.version)),
            ("sealed", f"{described.sealed_bytes:,} bytes in {described.row_groups:,} row groups"),
            ("shared", moment(described.created_at)),
        ]
        if described.privacy is not None:
            left, total = self.epsilon_left, described.privacy.total_millionths / 10**6
            rows.append(("privacy budget", f"ε {left:g} of {total:g} is left"))
        simulation = self.connection.mode == "simulation"
        body = "" if self.is_file else grid(["column", "type"], chosen)
        kind = "File" if self.is_file else "Table"
        return card(kind, self.name, rows, simulation=simulation, body=body)

    @property
    def name(self) -> str:
        """Name of the table."""
        return self.description.name

    @property
    def version(self) -> str:
        """Dataset version: 64 hex digits that change with the content."""
        return self.description.version

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.description.rows

    @property
    def epsilon_left(self) -> float:
        """What is left of the table's privacy budget, as its owner may know it; else 0."""
        budget = self.description.privacy
        if budget is None:
            return 0.0
        return max(0, budget.total_millionths - budget.spent_millionths) / 10**6

    @property
    def is_file(self) -> bool:
        """Whether it was shared as a file; its rows are its bytes then."""
        from clf_sdk.sealed import is_file  # noqa: PLC0415 - keeps the import of clf_sdk light

        return is_file([(each.name, each.type, each.nullable) for each in self.description.columns])

    def mock(self) -> pa.Table:
        """Return made-up rows of this table's schema, of the columns that are chosen.

        Raises
        ------
        NotFound
            The owner shares none.
        """
        from clf_sdk._mock_document import mock_from_document  # noqa: PLC0415 - loads pyarrow
        from clf_sdk.protocol import TableMock  # noqa: PLC0415 - the same

        path = f"/v1/tables/{self.name}/mock"
        whole = mock_from_document(self.connection.http.ask(TableMock, "GET", path))
        return whole if self.columns is None else whole.select(list(self.columns))

    def select(self, columns: Sequence[str]) -> SharedTable:
        """Return the same table, restricted to some columns.

        Raises
        ------
        NotFound
            The table has no such column; the message names near ones.
        """
        import difflib  # noqa: PLC0415 - only needed for the message

        known = [column.name for column in self.description.columns]
        for column in columns:
            if column not in known:
                near = difflib.get_close_matches(str(column), known, n=3)
                raise NotFound(
                    f"table {self.name!r} has no column {str(column)[:80]!r}",
                    hint=f"did you mean {', '.join(near)}?" if near else None,
                )
        return SharedTable(self.connection, self.description, tuple(columns))

    def __getitem__(self, columns: Sequence[str]) -> SharedTable:
        """Return the same table, restricted to some columns, as in pandas."""
        return self.select([columns] if isinstance(columns, str) else columns)
