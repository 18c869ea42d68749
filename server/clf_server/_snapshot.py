"""A copy of a server's database in a file, whatever the database is; and back."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import sqlalchemy as sa

from clf_sdk.errors import ConfigurationError
from clf_server._config import ServerConfig
from clf_server._database import SCHEMA, begin_alone, check_revision, make_engine, sqlite_url
from clf_server._migrate import migrate

_AT_ONCE = 1000
_PASSING = {"nonces", "tickets", "ticket_versions", "uploads", "upload_objects", "staged_results"}
"""Tables of what ends within minutes, and has no place in a backup."""


def take_snapshot(config: ServerConfig, file: Path) -> None:
    """Copy the database of a server, as it is at one moment, to a new SQLite file.

    Raises
    ------
    ConfigurationError, FormatTooNew
        The database is not of this version's revision.
    StorageUnavailable
        It is out of reach.
    """
    engine = make_engine(config.database)
    try:
        check_revision(engine)
        if config.database_url is None:
            with (
                contextlib.closing(sqlite3.connect(str(config.database.database))) as source,
                contextlib.closing(sqlite3.connect(file)) as target,
            ):
                source.backup(target)
            return
        migrate(sqlite_url(file))
        with engine.connect() as source:
            source.execution_options(isolation_level="REPEATABLE READ")
            with source.begin():
                _copy(source, sqlite_url(file))
    finally:
        engine.dispose()


def put_snapshot(file: Path, config: ServerConfig) -> str | None:
    """Make the database of a restored server from a snapshot; return the snapshot's revision.

    Raises
    ------
    ConfigurationError
        The database holds a server already.
    """
    revision, _ = migrate(sqlite_url(file))  # it may be of an older version
    if config.database_url is None:
        file.rename(str(config.database.database))
        return revision
    migrate(config.database)
    engine = make_engine(sqlite_url(file))
    try:
        with engine.connect() as source:
            _copy(source, config.database)
    finally:
        engine.dispose()
    return revision


def _copy(source: sa.Connection, target_url: sa.URL) -> None:
    engine = make_engine(target_url)
    try:
        with engine.begin() as target:
            begin_alone(target)
            tokens = sa.select(sa.func.count()).select_from(SCHEMA.tables["tokens"])
            if target.execute(tokens).scalar_one():
                raise ConfigurationError(
                    "the database holds a server already", hint="name an empty database"
                )
            for table in SCHEMA.sorted_tables:
                if table.name in _PASSING:
                    continue
                rows = source.execution_options(yield_per=_AT_ONCE).execute(sa.select(table))
                for part in rows.mappings().partitions():
                    target.execute(sa.insert(table), [dict(row) for row in part])
    finally:
        engine.dispose()
