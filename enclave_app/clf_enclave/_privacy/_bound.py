"""Cut each table to so many rows of each of its persons, before it is aligned (§8.5, step 3).

Which rows of a person stay depends on this person's rows and their order alone: nobody else's
coming or going changes it. That is what makes the bounds of `clf_sdk.operations` hold.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from clf_enclave._alignment._keys import comparable
from clf_enclave._alignment._tree import Input, person_sql
from clf_enclave._disclosure import Disclosure
from clf_enclave._spill import Stream
from clf_enclave._workspace import Workspace
from clf_sdk.errors import InvalidJob
from clf_sdk.operations import PrivateStatistics
from clf_sdk.operations._contributions import PersonOf, contributions
from clf_sdk.protocol import JobDocument


def bound_people(
    job: JobDocument,
    parameters: PrivateStatistics,
    tables: Mapping[str, Input],
    workspace: Workspace,
    disclosure: Disclosure,
) -> dict[str, Input]:
    """Return tables with the first rows of each person, and note what one person can change.

    Parameters
    ----------
    job
        The job.
    parameters
        Of its operation.
    tables
        Its inputs by name.
    workspace
        Where persons are told apart.
    disclosure
        Knows the owners' columns of people, and takes note.

    Raises
    ------
    InvalidJob
        What one person can change has no bound that is known, or a table lacks the columns by
        which people are told apart.
    """
    from clf_enclave._privacy._noise import LIBRARY, MECHANISM  # noqa: PLC0415 - loads OpenDP

    entities, rows = disclosure.entities, parameters.max_rows_per_person
    parameters.check_job(job, entities)
    found = contributions(job.align, entities, rows=rows)
    disclosure.begin_noise(found, rows=rows, library=LIBRARY, mechanism=MECHANISM)
    bounded: dict[str, Input] = {}
    for name, table in tables.items():
        assert not isinstance(table, Stream)  # noqa: S101 - for type checkers: no memory limit
        bounded[name] = _bound(workspace, name, table, found[name].person, rows)
    return bounded


def _bound(
    workspace: Workspace, name: str, table: pa.Table, person: PersonOf, rows: int
) -> pa.Table:
    if person.kind == "row" or not table.num_rows:
        return table
    if missing := [column for column in person.columns if column not in table.column_names]:
        raise InvalidJob(f"input {name!r} has no column {missing[0][:80]!r} for its people")
    physical = [workspace.name("c") for _ in person.columns]
    registered = workspace.register(
        table.select(list(person.columns)).rename_columns(physical),
    )
    place, rank = workspace.name("n"), workspace.name("n")
    numbered = workspace.view(f"SELECT *, row_number() OVER () AS {place} FROM {registered}")  # noqa: S608 - names of ours
    whose = _whose(workspace, numbered, person, physical, place)
    ranked = (
        f"SELECT {place}, row_number() OVER (PARTITION BY {whose} ORDER BY {place}) AS {rank} "  # noqa: S608 - names of ours
        f"FROM {numbered}"
    )
    kept = workspace.arrow(
        f"SELECT {place} - 1 AS {place} FROM ({ranked}) WHERE {rank} <= {rows} ORDER BY 1"  # noqa: S608 - names of ours
    )
    workspace.execute(f"DROP VIEW {numbered}")
    workspace.forget(registered)
    return table if kept.num_rows == table.num_rows else table.take(kept[place])


def _whose(
    workspace: Workspace, relation: str, person: PersonOf, physical: list[str], place: str
) -> str:
    """Return SQL of whose a row is: equal for rows of one person, and for rows with one key."""
    if not person.keys:
        return person_sql(physical[0])
    types = workspace.types(relation)
    keys = [
        comparable(column, types[column], key)
        for column, key in zip(physical, person.keys, strict=True)
    ]
    if person.kind == "entity":
        # What can not be read as a key is told apart as the owner has it.
        return f"coalesce(CAST({keys[0]} AS VARCHAR), {person_sql(physical[0])})"
    unknown = " OR ".join(f"{key} IS NULL" for key in keys)
    # A row without its keys matches nothing, and is nobody else's.
    return ", ".join([*keys, f"CASE WHEN {unknown} THEN {place} END"])
