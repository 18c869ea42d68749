"""The database of one run: DuckDB that can reach nothing outside of it (docs/operations.md)."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import pyarrow as pa
from sqlglot import expressions as exp

from clf_enclave._spill import Stream
from clf_sdk.errors import InvalidJob

MOST_THREADS = 4
SPILL_FOLDER = Path("/spill")
"""Where an enclave has disk space of its host; elsewhere it is the folder of temporary files."""
_LOCKED_DOWN = (
    "autoinstall_known_extensions = false",
    "autoload_known_extensions = false",
    "allow_community_extensions = false",
    "python_enable_replacements = false",
    "enable_progress_bar = false",
    "preserve_insertion_order = true",
    "TimeZone = 'UTC'",
    "enable_external_access = false",
    "lock_configuration = true",
)


def literal(value: str) -> str:
    """Return a text as it stands in SQL."""
    return exp.Literal.string(value).sql("duckdb")


@contextlib.contextmanager
def no_values_in_errors() -> Iterator[None]:
    """Turn the database's errors into our own: its messages may quote values."""
    try:
        yield
    except duckdb.OutOfMemoryException:
        raise InvalidJob(
            "the job needs more memory than it may use",
            hint="set a larger memory_limit_bytes, or leave out rows and columns",
        ) from None
    except duckdb.Error as error:
        raise InvalidJob(
            f"the data can't be computed with ({type(error).__name__})",
            hint="check the types of the columns that the job uses",
        ) from None


def connect(
    *, threads: int | None = None, memory_limit_bytes: int | None = None
) -> duckdb.DuckDBPyConnection:
    """Open a database in memory that can reach nothing outside of it, and never will.

    Parameters
    ----------
    threads
        How many; by default as many as there are processors, at most four.
    memory_limit_bytes
        What it may hold.
    """
    connection = duckdb.connect(":memory:")
    try:
        count = threads or min(MOST_THREADS, os.cpu_count() or 1)
        connection.execute(f"SET threads = {count}")
        connection.execute("SET temp_directory = ''")
        if memory_limit_bytes is not None:
            connection.execute(f"SET memory_limit = '{memory_limit_bytes}B'")
        for setting in _LOCKED_DOWN:
            connection.execute(f"SET {setting}")
    except BaseException:
        connection.close()
        raise
    return connection


class Workspace:
    """A database in memory, with names of our own only. Used as a block, in one thread.

    Tables keep the names of nobody's columns: each column is called ``c0``, ``c1``, …, so that no
    text of a job or of an owner ever becomes SQL.

    Parameters
    ----------
    memory_limit_bytes
        What the database may hold; None is what the machine has. It writes no files of its own:
        what does not fit is a `SpilledTable`, or ends the job.
    """

    def __init__(self, memory_limit_bytes: int | None = None) -> None:
        self._connection = connect(memory_limit_bytes=memory_limit_bytes)
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._names = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of all memory, and of the files."""
        self._connection.close()
        if self._folder is not None:
            self._folder.cleanup()

    @property
    def folder(self) -> Path:
        """Where rows that do not fit in memory go, in sealed files. It goes with the workspace."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(
                prefix="clf-", dir=SPILL_FOLDER if SPILL_FOLDER.is_dir() else None
            )
        return Path(self._folder.name)

    def name(self, kind: str) -> str:
        """Return a name that nothing has yet."""
        self._names += 1
        return f"{kind}{self._names}"

    def register(self, table: pa.Table | Stream) -> str:
        """Make a table or stream with columns of our names readable, without a copy."""
        name = self.name("input")
        self._connection.register(name, table)
        return name

    def forget(self, name: str) -> None:
        """Let go of what was registered under a name."""
        self._connection.unregister(name)

    def execute(self, sql: str, values: Sequence[Any] = ()) -> duckdb.DuckDBPyConnection:
        """Run a statement of our own making.

        Raises
        ------
        InvalidJob
            It failed. The database's own message may quote a value, and is not passed on.
        """
        with no_values_in_errors():
            return self._connection.execute(sql, list(values))

    def arrow(self, sql: str, values: Sequence[Any] = ()) -> pa.Table:
        """Return what a query finds."""
        with no_values_in_errors():
            return self._connection.sql(sql, params=list(values)).to_arrow_table()

    def batches(self, sql: str, rows: int) -> Iterator[pa.RecordBatch]:
        """Yield what a query finds, piece by piece; memory is about one piece."""
        with no_values_in_errors():
            reader = self._connection.sql(sql).to_arrow_reader(rows)
            yield from reader

    def one(self, sql: str, values: Sequence[Any] = ()) -> tuple[Any, ...]:
        """Return the only row that a query finds."""
        found: tuple[Any, ...] = self.execute(sql, values).fetchall()[0]
        return found

    def view(self, select: str) -> str:
        """Give a query a name."""
        name = self.name("view")
        self.execute(f"CREATE TEMP VIEW {name} AS {select}")
        return name

    def table(self, select: str) -> str:
        """Compute a query, and keep what it finds."""
        name = self.name("table")
        self.execute(f"CREATE TEMP TABLE {name} AS {select}")
        return name

    def types(self, relation: str) -> dict[str, str]:
        """Return DuckDB's type of each column of a table or view."""
        return {row[0]: row[1] for row in self.execute(f"DESCRIBE {relation}").fetchall()}
