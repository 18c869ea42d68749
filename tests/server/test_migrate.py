from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from click.testing import CliRunner

import clf_sdk as clf
from clf_sdk.errors import ConfigurationError, FormatTooNew
from clf_server import _migrate, _migrations
from clf_server._cli import server as command
from clf_server._database import SCHEMA, Database, sqlite_url
from clf_server._migrate import migrate
from clf_server._migrations import REVISIONS
from clf_testing import LocalServer, PostgreSQL


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> sa.URL:
    """Return an empty database."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "metadata.sqlite")
    cluster: PostgreSQL = request.getfixturevalue("postgresql")
    return sa.make_url(cluster.create_database()).set(drivername="postgresql+psycopg")


@pytest.fixture
def connection(url: sa.URL) -> Iterator[sa.Connection]:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as opened:
        yield opened


def test_all_revisions_together_make_what_the_code_works_with(
    url: sa.URL, connection: sa.Connection
) -> None:
    assert migrate(url, to=REVISIONS[0]) == (None, REVISIONS[0])
    assert migrate(url) == (REVISIONS[0], REVISIONS[-1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of expressions in indexes that SQLite can't reflect
        found = compare_metadata(MigrationContext.configure(connection), SCHEMA)
    assert found == []
    Database(url).close()


def test_list_of_revisions_is_that_of_the_files() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(_migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)
    assert [each.revision for each in script.walk_revisions()] == list(reversed(REVISIONS))


def test_migration_again_changes_nothing(url: sa.URL) -> None:
    migrate(url)
    assert migrate(url) == (REVISIONS[-1], REVISIONS[-1])


def test_migration_that_fails_leaves_the_database_as_it_was(
    url: sa.URL, connection: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(url, to=REVISIONS[0])
    upgrade = _migrate._upgrade

    def fail(opened: sa.Connection, to: str) -> None:
        upgrade(opened, to)
        raise OSError("power cut")

    monkeypatch.setattr(_migrate, "_upgrade", fail)
    with pytest.raises(OSError, match="power cut"):
        migrate(url)
    assert not sa.inspect(connection).has_table("nonces")
    monkeypatch.setattr(_migrate, "_upgrade", upgrade)
    assert migrate(url) == (REVISIONS[0], REVISIONS[-1])


def test_server_without_a_migration_says_what_to_do(url: sa.URL) -> None:
    migrate(url, to=REVISIONS[0])
    with pytest.raises(ConfigurationError, match=f"of revision {REVISIONS[0]}") as caught:
        Database(url)
    assert "clf server backup" in str(caught.value)
    assert "clf server migrate" in str(caught.value)


def test_database_of_a_later_version_is_too_new(url: sa.URL) -> None:
    migrate(url)
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as opened:
        opened.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    for open_it in (Database, migrate):
        with pytest.raises(FormatTooNew, match="revision 9999"):
            open_it(url)


def test_server_keeps_all_it_knows_when_it_is_migrated(
    local: LocalServer, numbers: pa.Table, policy: clf.Policy
) -> None:
    """From the first revision, before databases said which they have."""
    local.upload("plans", numbers, policy)
    before = local.audited()
    local.close()
    for name in ("alembic_version", "ticket_versions", "tickets", "nonces", "upload_objects"):
        local.sql(f"DROP TABLE {name}")
    for name in ("uploads", "staged_results", "memory", "remembered_runs", "privacy_charges"):
        local.sql(f"DROP TABLE {name}")
    kept = SCHEMA.tables["key_encryption_keys"]
    with local.database() as connection:
        keys = [row._asdict() for row in connection.execute(sa.select(kept))]
    local.sql("DROP TABLE key_encryption_keys")
    local.sql("DROP TABLE server_identities")
    local.sql("ALTER TABLE tokens DROP COLUMN signature")
    local.sql("ALTER TABLE versions DROP COLUMN content")
    with pytest.raises(ConfigurationError, match="of revision none"):
        local.restart()
    done = CliRunner().invoke(command, ["migrate", str(local.directory)])
    assert done.exit_code == 0, done.output
    assert f"{REVISIONS[0]} -> {REVISIONS[-1]}" in done.output
    assert "2 tokens hold on" in done.output
    with local.database() as connection:  # what the revision of keys can not know
        connection.execute(sa.insert(kept), keys)
    local.restart()
    assert local.tables() == ["plans"]
    assert local.audited() == before
