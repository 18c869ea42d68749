"""The database of a server: SQLite in its directory, or a PostgreSQL that several replicas share.

Whatever the database, a transaction is alone: no other writer comes between its first statement and
its commit. That is what makes counts of grants, the audit log and changes of policies exact, and it
is cheap, for all of them are short.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from clf_sdk.errors import ConfigurationError, FormatTooNew, StorageFull, StorageUnavailable
from clf_server._migrations import REVISIONS
from clf_server._sqlite import configure_sqlite, settle_journal, wipe_log

SCHEMA = sa.MetaData()
"""All tables; each module that owns some adds them."""

_REVISION = sa.table("alembic_version", sa.column("version_num"))
_WRITERS = 0x434C4601
"""Number of the lock that a PostgreSQL transaction takes, so that it is alone."""

_DESTRUCTION = "clf_destruction"
_CONNECT_SECONDS = 5
_POOL, _OVERFLOW = 10, 30  # requests are answered by up to 40 threads
_DISK_FULL = "53100"
_UNAVAILABLE = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}


def sqlite_url(path: Path) -> sa.URL:
    """Return the URL of a database in a file."""
    return sa.URL.create("sqlite", database=str(path))


def _configure_postgresql(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        # What is decided is durable before anybody is told, whatever the cluster's default is.
        cursor.execute("SET synchronous_commit = on")
        cursor.execute("SET lock_timeout = '10s'")
        cursor.execute("SET statement_timeout = '60s'")
    connection.commit()


def _explain(context: sa.ExceptionContext) -> None:
    """Turn a database that is full or out of reach into errors of our own."""
    if context.is_pre_ping:
        return
    error = context.original_exception
    code, state = getattr(error, "sqlite_errorcode", None), getattr(error, "sqlstate", None)
    if code == sqlite3.SQLITE_FULL or state == _DISK_FULL:
        raise StorageFull(
            "the server has no space left for its database",
            hint="the operator must free space or enlarge the volume; nothing was decided",
        ) from error
    sqlite_lost = code is not None and code & 0xFF in _UNAVAILABLE
    if sqlite_lost or context.is_disconnect or context.connection is None or _is_passing(state):
        raise StorageUnavailable(
            "the server's database is out of reach",
            hint="try again in a while; its operator sees why in the log",
        ) from error
    return


def _is_passing(state: str | None) -> bool:
    """Tell whether PostgreSQL's answer may be another one soon: connections, resources, operators.

    Classes of SQLSTATE: 08 connection, 53 resources, 57 intervention, 55P03 lock timeout.
    """
    return state is not None and (state[:2] in ("08", "53", "57") or state == "55P03")


class Database:
    """Connections and transactions.

    Parameters
    ----------
    url
        Where the database is.

    Raises
    ------
    ConfigurationError
        It has no tables, or old ones, and must be migrated first.
    FormatTooNew
        A later version of CLF has made it.
    """

    def __init__(self, url: sa.URL) -> None:
        self._engine = make_engine(url)
        self.shared = self._engine.dialect.name != "sqlite"
        """Whether other replicas use it, too."""
        try:
            check_revision(self._engine)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """Open a transaction that no other writer comes between, from its first statement on.

        It commits at the end of the block, durably, and rolls back on an error.

        Raises
        ------
        StorageFull
            No space is left; nothing was changed.
        StorageUnavailable
            The database is out of reach. When that happens at the commit, nobody knows whether it
            took place.
        """
        with self._engine.connect() as connection:
            with connection.begin():
                begin_alone(connection)
                yield connection
            if connection.info.pop(_DESTRUCTION, False) and not self.shared:
                wipe_log(connection.connection.driver_connection)

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Open a connection whose statements all see one state.

        Raises
        ------
        StorageUnavailable
            The database is out of reach.
        """
        with self._engine.connect() as connection:
            if self.shared:
                connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                if not self.shared:
                    connection.exec_driver_sql("BEGIN")
                yield connection

    @contextmanager
    def touching(self) -> Iterator[sa.Connection]:
        """Open a transaction beside others, for single rows that nothing else depends on."""
        with self._engine.begin() as connection:
            yield connection

    def ping(self) -> None:
        """Run a trivial query; raises when the database is out of reach."""
        with self._engine.connect() as connection:
            connection.execute(sa.select(sa.literal(1)))


def make_engine(url: sa.URL) -> sa.Engine:
    """Return an engine whose connections are durable and whose failures are errors of our own."""
    if url.get_backend_name() == "sqlite":
        settle_journal(Path(str(url.database)))
        engine = sa.create_engine(url)
        sa.event.listen(engine, "connect", configure_sqlite)
    else:
        engine = sa.create_engine(
            url,
            pool_size=_POOL,
            max_overflow=_OVERFLOW,
            pool_pre_ping=True,
            connect_args={"connect_timeout": _CONNECT_SECONDS, "application_name": "clf_server"},
        )
        sa.event.listen(engine, "connect", _configure_postgresql)
    sa.event.listen(engine, "handle_error", _explain)
    return engine


def note_destruction(connection: sa.Connection) -> None:
    """Note that a transaction destroys keys, which must be in no file when it has ended."""
    connection.info[_DESTRUCTION] = True


def begin_alone(connection: sa.Connection) -> None:
    """Keep other writers away until the transaction of a connection ends."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_WRITERS)))


def find_revision(connection: sa.Connection) -> str | None:
    """Return the revision of a database's tables; None where it has none."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.select(_REVISION.c.version_num)).scalar_one_or_none()


def check_revision(engine: sa.Engine) -> None:
    """Check that a database has the tables that this version of CLF works with.

    Raises
    ------
    ConfigurationError
        It has none, or old ones.
    FormatTooNew
        A later version of CLF has made them.
    """
    with engine.connect() as connection:
        found = find_revision(connection)
    if found == REVISIONS[-1]:
        return
    if found is not None and found not in REVISIONS:
        raise FormatTooNew(
            f"the database is of revision {found}, this version of CLF knows {REVISIONS[-1]}",
            hint="upgrade CLF; to go back, restore the backup that was made before the upgrade",
        )
    raise ConfigurationError(
        f"the database is of revision {found or 'none'}, this version of CLF needs {REVISIONS[-1]}",
        hint="make a backup with `clf server backup`, then run `clf server migrate DIR`",
    )
