"""Of whom results speak, and which populations are too close to each other (§8.4).

Two results that are safe alone tell, by their difference, about those few of whom only one of them
speaks. A set holds one number for each person; sets of one table are compared with each other.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clf_enclave._data import MOST_REMEMBERED, AlignedData
from clf_enclave._workspace import connect
from clf_sdk.errors import Malformed
from clf_sdk.protocol import MOST_POPULATIONS

_SCHEMA = pa.schema([("set", pa.int32()), ("person", pa.uint64())])


@dataclass(frozen=True)
class Spoken:
    """Rows of which a result speaks, as a whole or in groups.

    Attributes
    ----------
    data
        The rows.
    keys
        Columns in the database that make the groups; empty: the rows as a whole.
    shown
        Values of the keys, one row for each group that is shown.
    """

    data: AlignedData
    keys: tuple[str, ...] = ()
    shown: pa.Table | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Population:
    """Of which people of one input the results of a run speak.

    Attributes
    ----------
    people
        Sizes of the sets that are no groups.
    sets
        Columns ``set`` and ``person``, ordered and without repetitions; None when not known.
    groups
        Whether they speak of groups, too.
    """

    people: tuple[int, ...]
    sets: pa.Table | None = field(default=None, repr=False)
    groups: bool = False

    def to_bytes(self) -> bytes | None:
        """Return the sets as a Parquet file, small because they are in order; None without."""
        if self.sets is None:
            return None
        sink = io.BytesIO()
        pq.write_table(
            self.sets,
            sink,
            compression="zstd",
            use_dictionary=False,
            column_encoding={"set": "DELTA_BINARY_PACKED", "person": "DELTA_BINARY_PACKED"},
        )
        return sink.getvalue()


def read_sets(data: bytes) -> pa.Table:
    """Read what `Population.to_bytes` returned.

    Raises
    ------
    Malformed
        It is something else.
    """
    try:
        table = pq.read_table(io.BytesIO(data))
    except (pa.ArrowException, OSError) as error:
        raise Malformed("the remembered sets can't be read") from error
    if table.schema.remove_metadata() != _SCHEMA:
        raise Malformed("the remembered sets have other columns")
    return table


def population(spoken: Sequence[Spoken], name: str, *, salt: bytes, entity: bool) -> Population:
    """Return of whom of an input a run's results speak.

    Parameters
    ----------
    spoken
        What they speak of.
    name
        The input.
    salt
        Of its people's digests.
    entity
        Whether its owner names a column of people; else they are its rows.
    """
    people = [
        each.data.count_persons().get(name, each.data.rows) for each in spoken if not each.keys
    ]
    sizes = tuple(dict.fromkeys(people))[:MOST_POPULATIONS]
    groups = any(each.keys for each in spoken)
    if max(sizes, default=0) > MOST_REMEMBERED:
        return Population(sizes, groups=groups)
    found: list[pa.Table] = []
    known: dict[bytes, None] = {}
    first, entries = 0, 0
    for each in spoken:
        column = _identity(each.data, name, entity=entity)
        if column is None:
            return Population(sizes, groups=groups)
        sets = _sets(
            each, _digest(column, salt) if entity else f"CAST({column} AS UBIGINT)", column
        )
        entries += sets.num_rows
        if entries > MOST_REMEMBERED:
            return Population(sizes, groups=groups)
        whole = sets["person"].to_numpy().tobytes() if not each.keys else None
        if whole is not None and whole in known:
            continue
        if whole is not None:
            known[whole] = None
        numbered = pa.array(sets["set"].to_numpy() + first, pa.int32())
        found.append(pa.table([numbered, sets["person"]], schema=_SCHEMA))
        first += 1 if not each.keys else (0 if each.shown is None else each.shown.num_rows)
    return Population(sizes, pa.concat_tables(found) if found else None, groups)


def _identity(data: AlignedData, name: str, *, entity: bool) -> str | None:
    persons = next((each for each in data.persons if each.input == name), None)
    if persons is None:
        return None
    return persons.physical if entity else persons.row


def _digest(column: str, salt: bytes) -> str:
    # A hex text of ours: nothing of a job or an owner becomes SQL.
    return f"unhex(left(sha256('{salt.hex()}' || CAST({column} AS VARCHAR)), 16))"


def _sets(spoken: Spoken, person: str, column: str) -> pa.Table:
    """Return the sets of rows, ordered."""
    data = spoken.data
    relation, number = data.relation, "0"
    registered = None
    if spoken.keys:
        assert spoken.shown is not None  # noqa: S101 - groups come with their keys
        names = [data.workspace.name("s") for _ in spoken.keys]
        place = data.workspace.name("s")
        shown = spoken.shown.rename_columns(names).append_column(
            place, pa.array(range(spoken.shown.num_rows), pa.int32())
        )
        registered = data.workspace.register(shown)
        same = " AND ".join(
            f"{key} IS NOT DISTINCT FROM {other}"
            for key, other in zip(spoken.keys, names, strict=True)
        )
        relation, number = f"{relation} JOIN {registered} ON {same}", place
    found = data.workspace.arrow(
        f"SELECT DISTINCT CAST({number} AS INTEGER) AS n, {person} AS p FROM {relation} "  # noqa: S608 - names of ours
        f"WHERE {column} IS NOT NULL"
    )
    if registered is not None:
        data.workspace.forget(registered)
    sets, persons = found["n"].to_numpy(), _numbers(found["p"].combine_chunks())
    order = np.lexsort((persons, sets))
    return pa.table([pa.array(sets[order]), pa.array(persons[order])], names=["set", "person"])


def _numbers(persons: pa.Array) -> np.ndarray[Any, np.dtype[np.uint64]]:
    if pa.types.is_uint64(persons.type):
        found: np.ndarray[Any, np.dtype[np.uint64]] = persons.to_numpy(zero_copy_only=False)
        return found
    if not len(persons):
        return np.zeros(0, dtype=np.uint64)
    return np.frombuffer(b"".join(persons.to_pylist()), dtype=">u8").astype(np.uint64)


def too_close(new: pa.Table, earlier: pa.Table, smallest_group: int) -> bool:
    """Return whether a new set and an earlier one differ by a few people, but not by nobody."""
    # Sets without a common person differ by all of both. They are whole groups each, so only a
    # set that is smaller than a group could be too close, and such ones are not released.
    with connect() as connection:
        connection.register("n", new)
        connection.register("e", earlier)
        few = connection.execute(
            'WITH a AS (SELECT "set", count(*) AS size FROM n GROUP BY 1), '
            'b AS (SELECT "set", count(*) AS size FROM e GROUP BY 1), '
            'pairs AS (SELECT n."set" AS x, e."set" AS y, count(*) AS common '
            "FROM n JOIN e USING (person) GROUP BY 1, 2) "
            'SELECT EXISTS (SELECT 1 FROM pairs JOIN a ON x = a."set" JOIN b ON y = b."set" '
            "WHERE a.size + b.size - 2 * common BETWEEN 1 AND ?)",
            [smallest_group - 1],
        ).fetchone()
    return bool(few and few[0])


def sizes_too_close(new: Sequence[int], earlier: Sequence[int], smallest_group: int) -> bool:
    """Return whether two populations of which only the sizes are known could differ by a few."""
    return any(abs(ours - theirs) < smallest_group for ours in new for theirs in earlier)
