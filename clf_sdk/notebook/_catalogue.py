"""``catalogue()``: the tables that a user may name in a job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from clf_sdk._cards import frame_html
from clf_sdk._cards import text as escaped
from clf_sdk._connection import Connection, analyst_connections
from clf_sdk._table import SharedTable
from clf_sdk.errors import NotFound
from clf_sdk.notebook._view import View

if TYPE_CHECKING:
    import ipywidgets
    import pandas as pd
    import pyarrow as pa

_COLUMNS = ["owner", "table", "rows", "columns", "version", "shared_at"]
_MOCK_ROWS = 5
_MADE_UP = "mock data: nobody's rows"
_CODE = "padding:6px 10px;border:1px solid rgba(128,128,128,.45);border-radius:4px"


class Catalogue(View):
    """What a user may use, from `catalogue`.

    Attributes
    ----------
    connections
        To the owners' servers.
    tables
        Their tables, by ``(owner, table)``.
    """

    def __init__(self, connections: Sequence[Connection]) -> None:
        self.connections = tuple(connections)
        self.tables: dict[tuple[str, str], SharedTable] = {}
        self.refresh()

    def __repr__(self) -> str:
        simulated = any(connection.mode == "simulation" for connection in self.connections)
        warning = ", INSECURE SIMULATION" if simulated else ""
        return f"Catalogue({len(self.tables)} tables of {len(self.connections)} owners{warning})"

    def __getitem__(self, place: tuple[str, str]) -> SharedTable:
        """Return a table by its owner and its name: ``catalogue["clinic", "health"]``."""
        if place not in self.tables:
            known = ", ".join(f"{owner}/{table}" for owner, table in self.tables) or "none"
            raise NotFound(f"the catalogue has no table {place!r}", hint=f"it has: {known}")
        return self.tables[place]

    def refresh(self) -> None:
        """Ask all servers anew."""
        self.tables = {
            (connection.name, table.name): table
            for connection in self.connections
            for table in connection.shared_tables()
        }

    def to_pandas(self) -> pd.DataFrame:
        """Return one row a table."""
        import pandas as pd  # noqa: PLC0415 - only this method needs pandas

        rows = [
            {
                "owner": owner,
                "table": name,
                "rows": table.rows,
                "columns": len(table.description.columns),
                "version": table.version,
                "shared_at": pd.Timestamp(table.description.created_at, unit="s", tz="UTC"),
            }
            for (owner, name), table in self.tables.items()
        ]
        return pd.DataFrame(rows, columns=_COLUMNS)

    def code(self, place: tuple[str, str]) -> str:
        """Return code that names a table in a job, with all its columns, ready to be copied."""
        table = self[place]
        columns = [column.name for column in table.description.columns]
        variable = "".join(letter if letter.isalnum() else "_" for letter in table.name)
        owner = "".join(letter if letter.isalnum() else "_" for letter in place[0])
        return (
            f'{owner} = clf.connect("{place[0]}.profile.json")\n'
            f"{_identifier(variable)} = {owner}.table({table.name!r})[{columns!r}]"
        )

    def mock(self, place: tuple[str, str]) -> pa.Table | None:
        """Return the made-up rows of a table; None where its owner shares none."""
        try:
            return self[place].mock()
        except NotFound:
            return None

    def _lines(self) -> list[str]:
        lines = [repr(self)]
        for place, table in self.tables.items():
            lines += ["", f"{place[0]}/{place[1]}: {table.rows:,} rows, version {table.version}"]
            lines += [
                f"  {column.name}: {column.type}{'' if column.nullable else ', never missing'}"
                for column in table.description.columns
            ]
            if (mock := self.mock(place)) is not None:
                shown = mock.slice(0, _MOCK_ROWS).to_pandas().to_string(index=False)
                lines += [f"  {_MADE_UP}", *(f"  {line}" for line in shown.splitlines())]
        return lines

    def _build(self) -> ipywidgets.Widget:
        import ipywidgets as widgets  # noqa: PLC0415 - text needs none

        options = [(f"{owner}: {name}", (owner, name)) for owner, name in self.tables]
        self.chosen = widgets.Dropdown(
            description="Table", options=options, layout=widgets.Layout(width="40em")
        )
        self.details = widgets.HTML()
        self.snippet = widgets.HTML()
        self.chosen.observe(self._show, names="value")
        self._show()
        return widgets.VBox([self.chosen, self.details, self.snippet])

    def _show(self, _: Any = None) -> None:
        if self.chosen.value is None:
            self.details.value, self.snippet.value = "<p>no table is visible to you</p>", ""
            return
        self.details.value = self[self.chosen.value]._repr_html_()
        if (mock := self.mock(self.chosen.value)) is not None:
            rows = frame_html(mock.slice(0, _MOCK_ROWS).to_pandas())
            self.details.value += f"<p>{_MADE_UP}</p>{rows}"
        lines = self.code(self.chosen.value).split("\n")
        shown = "\n".join(escaped(line, most=10_000) for line in lines)
        self.snippet.value = f'<pre style="{_CODE}">{shown}</pre>'


def _identifier(name: str) -> str:
    return name if name.isidentifier() else f"table_{name}"


def catalogue(*connections: Connection) -> Catalogue:
    """Show the tables that this user may name in a job: schemas, and code that is ready to copy.

    Parameters
    ----------
    *connections
        To the owners' servers; by default all that this process has made as an analyst.

    Raises
    ------
    ConfigurationError
        No server is connected.
    """
    return Catalogue(analyst_connections(connections))
