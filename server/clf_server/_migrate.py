"""Bring a database's tables to what this version of CLF works with, or make them."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from clf_sdk.errors import FormatTooNew
from clf_server import (
    _analysts,
    _audit,
    _identities,
    _job_store,
    _keks,
    _metadata,
    _migrations,
    _nonces,
    _pause,
    _receipts,
    _result_ledger,
    _tickets,
    _tokens,
    _upload_ledger,
)
from clf_server._database import SCHEMA, begin_alone, find_revision, make_engine
from clf_server._migrations import REVISIONS

_FIRST_TABLE = "tables"
_OWNERS = (
    _analysts,
    _audit,
    _identities,
    _job_store,
    _keks,
    _metadata,
    _nonces,
    _pause,
    _receipts,
    _result_ledger,
    _tickets,
    _tokens,
    _upload_ledger,
)
"""The modules whose tables are in `SCHEMA` because they were imported."""

_revision = sa.Table(
    "alembic_version",
    sa.MetaData(),
    sa.Column("version_num", sa.String(32), primary_key=True),
)


def migrate(url: sa.URL, *, to: str = REVISIONS[-1]) -> tuple[str | None, str]:
    """Run the revisions that a database lacks, all of them or none; return what it was and is.

    Parameters
    ----------
    url
        Where the database is; it may be empty.
    to
        The revision to reach.

    Raises
    ------
    FormatTooNew
        A later version of CLF has made it.
    """
    engine = make_engine(url)
    try:
        with engine.begin() as connection:
            begin_alone(connection)
            found = find_revision(connection)
            if found is not None and found not in REVISIONS:
                raise FormatTooNew(
                    f"the database is of revision {found}, this version of CLF knows "
                    f"{REVISIONS[-1]}",
                    hint="upgrade CLF",
                )
            if found is None and sa.inspect(connection).has_table(_FIRST_TABLE):
                found = REVISIONS[0]  # made before revisions were written down
                _stamp(connection, found)
            if found is None and to == REVISIONS[-1]:
                SCHEMA.create_all(connection)  # what all revisions together make, but faster
                _stamp(connection, to)
            elif found != to:
                _upgrade(connection, to)
    finally:
        engine.dispose()
    return found, to


def _stamp(connection: sa.Connection, revision: str) -> None:
    _revision.create(connection)
    connection.execute(sa.insert(_revision).values(version_num=revision))


def _upgrade(connection: sa.Connection, to: str) -> None:
    # Imported here: a server that only runs does not need it.
    from alembic import command  # noqa: PLC0415 - see above
    from alembic.config import Config  # noqa: PLC0415 - see above

    config = Config()
    config.set_main_option("script_location", str(Path(_migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, to)
