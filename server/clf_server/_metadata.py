"""The server's metadata: tables, versions, results. No value of a table is in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from clf_sdk.errors import Conflict, NotFound
from clf_sdk.protocol import ReleaseStatus
from clf_server._database import SCHEMA, Database, note_destruction

_tables = sa.Table(
    "tables",
    SCHEMA,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("policy", sa.Text, nullable=False),  # canonical JSON
    sa.Column("policy_tag", sa.String(64), nullable=False),  # authenticates the policy
    sa.Column("version_id", sa.String(32), sa.ForeignKey("versions.version_id"), nullable=False),
)
_versions = sa.Table(
    "versions",
    SCHEMA,
    sa.Column("version_id", sa.String(32), primary_key=True),
    sa.Column("table_name", sa.String(64), nullable=False, index=True),
    sa.Column("version", sa.String(64), nullable=False),
    sa.Column("table_key", sa.Text, nullable=False),  # wrapped
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("row_groups", sa.Integer, nullable=False),
    sa.Column("manifest_bytes", sa.BigInteger, nullable=False),
    sa.Column("sealed_bytes", sa.BigInteger, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("derived_from", sa.String(32)),  # version id, for rows that a filter kept
    sa.Column("derivation", sa.String(64)),  # digest of filter and columns
    sa.Column("content", sa.String(64)),  # tag of what it holds, under a key of its own
    sa.UniqueConstraint("derived_from", "derivation"),
)
_results = sa.Table(
    "results",
    SCHEMA,
    sa.Column("run", sa.String(32), primary_key=True),
    sa.Column("output", sa.String(64), primary_key=True),
    sa.Column("version_id", sa.String(32), nullable=False, unique=True),
    sa.Column("job", sa.String(64), nullable=False, index=True),
    sa.Column("envelope", sa.JSON, nullable=False),
    sa.Column("signature", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("release", sa.String(16), nullable=False),
    sa.Column("share", sa.JSON(none_as_null=True)),  # sealed to the recipients
    sa.Column("decided_at", sa.BigInteger),
    sa.Column("reason", sa.Text),
)

# What every session asks is built once: that costs more than to run it.
_TABLES = sa.select(_tables.c.name, _tables.c.policy, _tables.c.policy_tag, _versions).join(
    _versions, _tables.c.version_id == _versions.c.version_id
)
_TABLE = _TABLES.where(_tables.c.name == sa.bindparam("name"))
_STILL = sa.select(_tables.c.name).where(
    *(column == sa.bindparam(column.name) for column in _tables.c)
)


@dataclass(frozen=True)
class Version:
    """A sealed version of a table, with its wrapped key.

    ``derived_from`` and ``derivation`` say of which version, by which filter and columns, when it
    holds only a part of a table. ``content`` is the owner's tag of what it holds.
    """

    version_id: str
    table_name: str
    version: str
    table_key: str
    rows: int
    row_groups: int
    manifest_bytes: int
    sealed_bytes: int
    created_at: int
    derived_from: str | None = None
    derivation: str | None = None
    content: str | None = None

    @property
    def lineage(self) -> str:
        """What it holds: the same for the same rows and columns, however often they are sealed."""
        if self.derived_from is None:
            return self.version_id
        return f"{self.derived_from}/{self.derivation}"


@dataclass(frozen=True)
class StoredPolicy:
    """A policy's canonical JSON, and the tag that authenticates it. `Policies` checks that."""

    text: str
    tag: str


@dataclass(frozen=True)
class StoredTable:
    """A table: its policy and its current version."""

    name: str
    policy: StoredPolicy
    current: Version


@dataclass(frozen=True)
class StoredResult:
    """A sealed output of a run."""

    run: str
    output: str
    version_id: str
    job: str
    envelope: dict[str, Any]
    signature: str
    created_at: int
    release: ReleaseStatus
    share: dict[str, Any] | None
    decided_at: int | None = None
    reason: str | None = None


@dataclass(frozen=True)
class StoredCounts:
    """How much is stored, at one moment."""

    tables: int
    results: int
    sealed_bytes: int
    paused: bool
    jobs: dict[str, int]


class Metadata(Database):
    """What a server knows about tables, versions and results."""

    def count(self) -> StoredCounts:
        """Count what is stored, for metrics."""
        sizes = sa.select(sa.func.coalesce(sa.func.sum(_versions.c.sealed_bytes), 0))
        jobs, pause = SCHEMA.tables["jobs"], SCHEMA.tables["pause"]
        by_state = sa.select(jobs.c.state, sa.func.count()).group_by(jobs.c.state)
        with self.reading() as connection:

            def count(table: sa.Table) -> int:
                query = sa.select(sa.func.count()).select_from(table)
                return int(connection.execute(query).scalar_one())

            return StoredCounts(
                tables=count(_tables),
                results=count(_results),
                sealed_bytes=int(connection.execute(sizes).scalar_one()),
                paused=count(pause) > 0,
                jobs={str(row[0]): int(row[1]) for row in connection.execute(by_state)},
            )

    # -- tables ----------------------------------------------------------------------------

    def find_table(self, name: str, connection: sa.Connection | None = None) -> StoredTable | None:
        """Return a table, or None; as an open transaction sees it, if one is given."""
        if connection is not None:
            found = _stored_tables(connection, _TABLE, {"name": name})
        else:
            with self._engine.connect() as opened:
                found = _stored_tables(opened, _TABLE, {"name": name})
        return found[0] if found else None

    def table(self, name: str, connection: sa.Connection | None = None) -> StoredTable:
        """Return a table.

        Raises
        ------
        NotFound
            There is none of that name.
        """
        table = self.find_table(name, connection)
        if table is None:
            raise _no_table(name)
        return table

    def list_tables(self) -> list[StoredTable]:
        """Return all tables, by name."""
        # Sorted here: databases order texts in ways of their own.
        with self._engine.connect() as connection:
            found = _stored_tables(connection, _TABLES, {})
        return sorted(found, key=lambda table: table.name)

    def publish(
        self,
        connection: sa.Connection,
        version: Version,
        *,
        policy: StoredPolicy,
        before: StoredTable | None,
    ) -> list[str]:
        """Make a version the current one of its table, and forget the one it replaces.

        Parameters
        ----------
        connection
            Open transaction.
        version
            The new version.
        policy
            The table's policy.
        before
            The table when the upload began; None when there was none.

        Returns
        -------
        list of str
            Ids of the versions that were forgotten, whose bytes may go after the commit.

        Raises
        ------
        Conflict
            Another version or policy has become current meanwhile.
        """
        name = version.table_name
        connection.execute(sa.insert(_versions).values(**vars(version)))
        if before is None:
            try:
                connection.execute(
                    sa.insert(_tables).values(
                        name=name,
                        policy=policy.text,
                        policy_tag=policy.tag,
                        version_id=version.version_id,
                    )
                )
            except sa.exc.IntegrityError as error:
                raise overtaken(name) from error
            return []
        self._replace(connection, before, policy, version_id=version.version_id)
        replaced = before.current.version_id
        return self._forget(
            connection,
            sa.or_(_versions.c.version_id == replaced, _versions.c.derived_from == replaced),
        )

    def set_policy(
        self, connection: sa.Connection, before: StoredTable, policy: StoredPolicy
    ) -> list[str]:
        """Change the policy of a table whose content stays, and forget what the old one derived.

        Returns
        -------
        list of str
            Ids of the derived versions that were forgotten.

        Raises
        ------
        Conflict
            The table's version or policy is not the one before any more.
        """
        version_id = before.current.version_id
        self._replace(connection, before, policy, version_id=version_id)
        return self._forget(connection, _versions.c.derived_from == version_id)

    def _replace(
        self,
        connection: sa.Connection,
        before: StoredTable,
        policy: StoredPolicy,
        *,
        version_id: str,
    ) -> None:
        changed = connection.execute(
            sa.update(_tables)
            .where(*_is_still(before))
            .values(policy=policy.text, policy_tag=policy.tag, version_id=version_id)
        )
        if changed.rowcount != 1:
            raise overtaken(before.name)

    def _forget(self, connection: sa.Connection, condition: sa.ColumnElement[bool]) -> list[str]:
        note_destruction(connection)
        deleted = sa.delete(_versions).where(condition).returning(_versions.c.version_id)
        return list(connection.execute(deleted).scalars())

    def check_still(self, connection: sa.Connection, table: StoredTable) -> None:
        """Check that a table has the version and the policy that it had.

        Raises
        ------
        Conflict
            It has another one.
        """
        asked = {
            "name": table.name,
            "version_id": table.current.version_id,
            "policy": table.policy.text,
            "policy_tag": table.policy.tag,
        }
        if connection.execute(_STILL, asked).first() is None:
            raise overtaken(table.name)

    def drop(self, connection: sa.Connection, name: str) -> tuple[Version, list[str]]:
        """Forget a table with its keys.

        Returns
        -------
        tuple
            The table's version, and the ids of all versions whose bytes may then go.

        Raises
        ------
        NotFound
            There is none of that name.
        """
        query = sa.select(_versions).join(_tables, _tables.c.version_id == _versions.c.version_id)
        row = connection.execute(query.where(_tables.c.name == name)).first()
        if row is None:
            raise _no_table(name)
        connection.execute(sa.delete(_tables).where(_tables.c.name == name))
        return Version(*row), self._forget(connection, _versions.c.table_name == name)

    # -- derived versions --------------------------------------------------------------------

    def derived(self, version_id: str) -> list[Version]:
        """Return the versions that were derived from one, oldest first."""
        query = (
            sa.select(_versions)
            .where(_versions.c.derived_from == version_id)
            .order_by(_versions.c.created_at)
        )
        with self._engine.connect() as connection:
            return [Version(*row) for row in connection.execute(query)]

    def find_derived(
        self, connection: sa.Connection, version_id: str, derivation: str
    ) -> Version | None:
        """Return the version that was derived from one by a filter and columns, or None."""
        query = sa.select(_versions).where(
            _versions.c.derived_from == version_id, _versions.c.derivation == derivation
        )
        row = connection.execute(query).first()
        return Version(*row) if row else None

    def add_derived(self, connection: sa.Connection, version: Version, of: StoredTable) -> None:
        """Make a derived version known.

        Raises
        ------
        Conflict
            The table has another version or policy than when it was derived.
        """
        self.check_still(connection, of)
        connection.execute(sa.insert(_versions).values(**vars(version)))

    def remove_derived(self, connection: sa.Connection, version_id: str) -> list[str]:
        """Forget a derived version with its key, and return its id if there was one."""
        derived = sa.and_(
            _versions.c.version_id == version_id, _versions.c.derived_from.is_not(None)
        )
        return self._forget(connection, derived)

    # -- keys ------------------------------------------------------------------------------

    def all_versions(self, connection: sa.Connection) -> list[Version]:
        """Return all versions of all tables, derived ones too, each with its wrapped key."""
        query = sa.select(_versions).order_by(_versions.c.version_id)
        return [Version(*row) for row in connection.execute(query)]

    def rewrap(self, connection: sa.Connection, version: Version, table_key: str) -> None:
        """Replace the wrapped key of a version, if the version is still there with that one."""
        connection.execute(
            sa.update(_versions)
            .where(
                _versions.c.version_id == version.version_id,
                _versions.c.table_key == version.table_key,
            )
            .values(table_key=table_key)
        )

    # -- results ---------------------------------------------------------------------------

    def add_result(self, connection: sa.Connection, result: StoredResult) -> bool:
        """Make an output visible; tell whether it was not visible before.

        Raises
        ------
        Conflict
            The run has another output of that name already.
        """
        query = sa.select(_results.c.envelope).where(
            _results.c.run == result.run, _results.c.output == result.output
        )
        stored = connection.execute(query).first()
        if stored is None:
            connection.execute(sa.insert(_results).values(**vars(result)))
            return True
        if stored.envelope != result.envelope:
            raise Conflict(
                f"run {result.run} has another result {result.output!r} already",
                hint="a run puts each output once; start a new run",
            )
        return False

    def results(self, run: str) -> list[StoredResult]:
        """Return all outputs of a run."""
        query = sa.select(_results).where(_results.c.run == run).order_by(_results.c.output)
        with self._engine.connect() as connection:
            return [StoredResult(*row) for row in connection.execute(query)]

    def runs(self, job: str) -> list[StoredResult]:
        """Return an output of each run of a job, the newest run first."""
        query = sa.select(_results).where(_results.c.job == job)
        with self._engine.connect() as connection:
            found = [StoredResult(*row) for row in connection.execute(query)]
        by_run = {stored.run: stored for stored in found}
        return sorted(by_run.values(), key=lambda stored: stored.created_at, reverse=True)

    def reviewed(self) -> list[StoredResult]:
        """Return all outputs that wait for a release or were decided on, the newest first."""
        query = (
            sa.select(_results)
            .where(_results.c.release != "at_once")
            .order_by(_results.c.created_at.desc(), _results.c.run, _results.c.output)
        )
        with self._engine.connect() as connection:
            return [StoredResult(*row) for row in connection.execute(query)]

    def decide_release(
        self,
        connection: sa.Connection,
        run: str,
        output: str,
        *,
        release: ReleaseStatus,
        decided_at: int,
        reason: str,
    ) -> bool:
        """Note a decision on an output that waits for one; tell whether there was such an output.

        A refusal destroys the share, for good.
        """
        values: dict[str, Any] = {"release": release, "decided_at": decided_at, "reason": reason}
        if release == "refused":
            values["share"] = None
            note_destruction(connection)
        changed = connection.execute(
            sa.update(_results)
            .where(
                _results.c.run == run,
                _results.c.output == output,
                _results.c.release.in_(
                    ["pending", "released"] if release == "refused" else ["pending"]
                ),
            )
            .values(values)
        )
        return changed.rowcount == 1

    def has_results(self, connection: sa.Connection, run: str) -> bool:
        """Tell whether an output of a run is visible."""
        query = sa.select(_results.c.output).where(_results.c.run == run).limit(1)
        return connection.execute(query).first() is not None

    def known_versions(self, connection: sa.Connection, among: Iterable[str]) -> set[str]:
        """Return those of some version ids that are visible, of tables and of results."""
        ids = list(among)
        query = sa.union(
            *(
                sa.select(column).where(column.in_(ids))
                for column in (_versions.c.version_id, _results.c.version_id)
            )
        )
        return set(connection.execute(query).scalars())

    def visible_versions(self) -> set[str]:
        """Return the ids of all versions that are visible, of tables and of results."""
        query = sa.union(sa.select(_versions.c.version_id), sa.select(_results.c.version_id))
        with self._engine.connect() as connection:
            return set(connection.execute(query).scalars())


def _stored_tables(
    connection: sa.Connection, query: sa.Select[Any], parameters: dict[str, str]
) -> list[StoredTable]:
    return [
        StoredTable(row[0], StoredPolicy(row[1], row[2]), Version(*row[3:]))
        for row in connection.execute(query, parameters)
    ]


def _no_table(name: str) -> NotFound:
    return NotFound(f"there is no table {name!r} on this server")


def _is_still(table: StoredTable) -> list[sa.ColumnElement[bool]]:
    return [
        _tables.c.name == table.name,
        _tables.c.version_id == table.current.version_id,
        _tables.c.policy == table.policy.text,
        _tables.c.policy_tag == table.policy.tag,
    ]


def overtaken(name: str) -> Conflict:
    """Return the error of a change that another one overtook."""
    return Conflict(
        f"table {name!r} was changed by somebody else meanwhile",
        hint="look at the table's current state and do it again",
    )
