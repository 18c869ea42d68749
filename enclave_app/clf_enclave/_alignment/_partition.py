"""Join inputs that do not fit in memory, one part of the keys after the other.

Rows with equal keys go to the same part, so that each part is a join of its own, and all of them
together are the join. Parts lie in sealed files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from clf_enclave._alignment._keys import comparable
from clf_enclave._alignment._tree import Aligned, align, person_sql
from clf_enclave._spill import Chained, Renamed, SpilledTable, Stream
from clf_enclave._workspace import Workspace
from clf_sdk.errors import InvalidJob
from clf_sdk.protocol import AlignNode, InputNode, JoinKey, JoinNode, LinkNode, UnionNode, walk

_MOST_PARTS = 256
_LEAST_BUFFER_BYTES, _MOST_BUFFER_BYTES = 64 << 10, 4 << 20
_ROWS_OF_A_PART = 1 << 40  # numbers of rows in different parts must differ
_WORKING_SHARE = 6
"""How many times its size a part takes while it is joined: the inputs, hashed, and the result."""


@dataclass(frozen=True)
class _Keyed:
    """One input, and by which columns its rows are told apart."""

    input: str
    columns: list[str]


def align_streams(
    workspace: Workspace,
    tree: AlignNode,
    streams: Mapping[str, Stream],
    *,
    entities: Mapping[str, str],
    hidden: Collection[str] = (),
    remembered: Collection[str] = (),
    matches: bool,
    folder: Path,
    memory_limit_bytes: int,
) -> Aligned:
    """Make one table of inputs of any size.

    A single input and unions are not stored at all: they are read from where they come. Joins of
    inputs, and of unions of them, are done in parts.

    Parameters
    ----------
    workspace, tree, entities, hidden, remembered, matches
        As of `align`; rows of what is joined in parts are not known again.
    streams
        The inputs by name.
    folder
        For sealed files.
    memory_limit_bytes
        What may be held in memory.

    Raises
    ------
    InvalidJob
        As `align`; or the alignment has joins inside of joins or links, which must fit in memory.
    StorageFull
        There is no space for the parts.
    """
    if not any(isinstance(node, JoinNode | LinkNode) for node, _ in walk(tree)):
        return align(
            workspace,
            tree,
            streams,
            entities=entities,
            hidden=hidden,
            remembered=remembered,
            matches=matches,
        )
    keyed = _keyed_inputs(tree)
    assert isinstance(tree, JoinNode)  # noqa: S101 - or it would have no keyed inputs
    size = sum(_bytes_of(stream) for stream in streams.values())
    count = min(_MOST_PARTS, max(1, -(-size * _WORKING_SHARE // memory_limit_bytes)))
    # Of one input at a time, all buffers together take an eighth of the memory.
    buffer_bytes = min(
        _MOST_BUFFER_BYTES, max(_LEAST_BUFFER_BYTES, memory_limit_bytes // (8 * count))
    )
    parts = {
        each.input: _divide(
            streams[each.input],
            each,
            tree.keys,
            [_Part(streams[each.input].schema, folder, buffer_bytes) for _ in range(count)],
        )
        for each in keyed
    }
    joined: list[Stream] = []
    persons = dict.fromkeys(streams, 0)
    data = None
    for number in range(count):
        tables = {name: divided[number].read_all() for name, divided in parts.items()}
        for divided in parts.values():
            divided[number].delete()
        with Workspace(memory_limit_bytes // 2) as part:
            aligned = align(
                part,
                tree,
                tables,
                entities=entities,
                hidden=hidden,
                matches=matches,
                first_row=number * _ROWS_OF_A_PART,
            )
            del tables
            data = aligned.data
            joined.append(SpilledTable(_Query(part, data.relation), folder))
            for name, counted in aligned.persons.items():
                persons[name] += counted
    assert data is not None  # noqa: S101 - there is at least one part
    chained = Chained(joined[0].schema, joined)
    if matches:
        persons |= _count_entities(workspace, streams, entities)
    result = replace(
        data,
        workspace=workspace,
        relation=workspace.register(chained),
        counted=chained.rows,
        streamed=True,
    )
    return Aligned(result, persons)


def _count_entities(
    workspace: Workspace, streams: Mapping[str, Stream], entities: Mapping[str, str]
) -> dict[str, int]:
    """Count the persons of inputs that name an entity column: one may stand in several parts."""
    found = {}
    for name, entity in entities.items():
        physical = [workspace.name("c") for _ in streams[name].schema.names]
        person = person_sql(physical[streams[name].schema.names.index(entity)])
        relation = workspace.register(Renamed(streams[name], physical))
        found[name] = workspace.one(f"SELECT count(DISTINCT {person}) FROM {relation}")[0]  # noqa: S608 - names of ours
        workspace.forget(relation)
    return found


class _Query(Stream):
    """What a table of a workspace holds."""

    def __init__(self, workspace: Workspace, relation: str) -> None:
        self._workspace = workspace
        self._relation = relation
        self.schema = workspace.arrow(f"SELECT * FROM {relation} LIMIT 0").schema  # noqa: S608 - a name of ours
        self.rows = 0

    def batches(self) -> Iterator[pa.RecordBatch]:
        """See `Stream.batches`."""
        return self._workspace.batches(f"SELECT * FROM {self._relation}", 1 << 16)  # noqa: S608 - a name of ours


def _keyed_inputs(tree: AlignNode) -> list[_Keyed]:
    if not isinstance(tree, JoinNode):
        raise InvalidJob(
            "this alignment must fit in memory: only joins of inputs and of unions of inputs go "
            "on in files",
            hint="set a larger memory_limit_bytes, or join at the root of the alignment",
        )
    found = []
    for member in tree.members:
        columns = member.columns or [key.name for key in tree.keys]
        for node, _ in walk(member.of):
            if isinstance(node, InputNode):
                found.append(_Keyed(node.input, columns))
            elif not isinstance(node, UnionNode):
                raise InvalidJob(
                    "joins inside of joins, and links, must fit in memory",
                    hint="set a larger memory_limit_bytes",
                )
    return found


def _bytes_of(stream: Stream) -> int:
    """Estimate the size of a stream from its first batch."""
    for batch in stream.batches():
        return int(batch.nbytes / max(1, batch.num_rows) * stream.rows)
    return 0


def _divide(stream: Stream, keyed: _Keyed, keys: list[JoinKey], parts: list[_Part]) -> list[_Part]:
    """Write the rows of an input to the parts to which their keys belong."""
    for name in keyed.columns:
        if name not in stream.schema.names:
            raise InvalidJob(f"input {keyed.input!r} has no key column {name[:80]!r}")
    count = len(parts)
    names = [f"c{number}" for number in range(len(keyed.columns))]
    with Workspace() as workspace:
        for batch in stream.batches():
            table = pa.Table.from_batches([batch])
            relation = workspace.register(table.select(keyed.columns).rename_columns(names))
            types = workspace.types(relation)
            made = [
                comparable(name, types[name], key) for name, key in zip(names, keys, strict=True)
            ]
            # As text, so that 7 is in the same part whatever its type was.
            hashed = ", ".join(f"({each})::VARCHAR" for each in made)
            numbers = workspace.arrow(f"SELECT hash({hashed}) % {count} AS part FROM {relation}")  # noqa: S608 - names of ours
            workspace.forget(relation)
            part = numbers["part"].combine_chunks()
            order = pc.sort_indices(part)
            sorted_rows, ends = table.take(order), _ends(part, count)
            for number, (start, stop) in enumerate(zip([0, *ends], ends, strict=False)):
                if stop > start:
                    parts[number].add(sorted_rows.slice(start, stop - start))
    for each in parts:
        each.flush()
    return parts


def _ends(part: pa.Array, count: int) -> list[int]:
    """Return where each part ends in rows that are sorted by their part."""
    sizes = [0] * count
    for counted in pc.value_counts(part).to_pylist():
        sizes[counted["values"]] = counted["counts"]
    ends, total = [], 0
    for size in sizes:
        total += size
        ends.append(total)
    return ends


class _Part:
    """Rows of one input whose keys belong together; a small buffer, the rest in sealed files."""

    def __init__(self, schema: pa.Schema, folder: Path, buffer_bytes: int) -> None:
        self._schema = schema
        self._buffer_bytes = buffer_bytes
        self._folder = folder
        self._buffer: list[pa.Table] = []
        self._buffered = 0
        self._files: list[SpilledTable] = []

    def add(self, rows: pa.Table) -> None:
        """Take in rows."""
        self._buffer.append(rows)
        self._buffered += rows.nbytes
        if self._buffered >= self._buffer_bytes:
            self.flush()

    def flush(self) -> None:
        """Write what is buffered."""
        if self._buffer:
            self._files.append(SpilledTable(pa.concat_tables(self._buffer), self._folder))
            self._buffer, self._buffered = [], 0

    def read_all(self) -> pa.Table:
        """Return all rows."""
        batches = [batch for file in self._files for batch in file.batches()]
        if not batches:
            return self._schema.empty_table()
        return pa.Table.from_batches(batches)

    def delete(self) -> None:
        """Delete the files."""
        for file in self._files:
            file.delete()
