"""Opening: which bytes to fetch, and columns out of them (docs/protocol.md §4.2, §4.3)."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import pyarrow as pa
from blake3 import blake3

from clf_sdk.errors import KeyNotGranted, NotFound, SealBroken
from clf_sdk.sealed._area import PlaintextArea, padded
from clf_sdk.sealed._batch import batch_of
from clf_sdk.sealed._dictionaries import unify_dictionaries
from clf_sdk.sealed._ipc import decode_column
from clf_sdk.sealed._schema import shown_name
from clf_sdk.sealed._segment import open_segment_into, segment_context, segment_plaintext_size

if TYPE_CHECKING:
    from cryptography.utils import Buffer

    from clf_sdk.sealed._manifest import Manifest

Fetch: TypeAlias = "Callable[[str, int, int], Buffer]"
"""``fetch(object_name, start, stop)`` returns those bytes of a row-group object; its name is the
number of the row group in decimal."""

_BRIDGED_GAP_BYTES = 64 * 1024


@dataclass(frozen=True)
class SegmentPart:
    """Where a column's segment lies in the bytes of a range.

    Attributes
    ----------
    column
        Name of the column.
    offset
        First byte, counted from the start of the range.
    length
        Number of bytes.
    """

    column: str
    offset: int
    length: int


@dataclass(frozen=True)
class FetchRange:
    """Bytes ``[start, stop)`` of a row-group object, and the segments in them."""

    start: int
    stop: int
    parts: tuple[SegmentPart, ...]


class RowGroupReader:
    """Opens the columns of a table version whose keys were granted. Safe to share between threads.

    Parameters
    ----------
    manifest
        From `open_manifest`.
    column_keys
        Key of each granted column.
    """

    def __init__(self, manifest: Manifest, column_keys: Mapping[str, bytes]) -> None:
        self.manifest = manifest
        self._keys = dict(column_keys)
        self._positions = {name: i for i, name in enumerate(manifest.schema.names)}
        self._fields = list(manifest.schema)

    def __repr__(self) -> str:
        return f"RowGroupReader({self.manifest!r}, {len(self.columns):,} columns granted)"

    @property
    def columns(self) -> list[str]:
        """Names of the granted columns, in the table's order."""
        return [name for name in self._positions if name in self._keys]

    def schema_of(self, columns: Sequence[str] | None = None) -> pa.Schema:
        """Return the schema of some columns, in that order; by default of all granted ones."""
        chosen = self.columns if columns is None else columns
        return pa.schema([self._fields[self._position(name)] for name in chosen])

    def _position(self, column: str) -> int:
        position = self._positions.get(column)
        if position is None:
            raise NotFound(f"the table has no column {shown_name(column)}")
        if column not in self._keys:
            raise KeyNotGranted(
                f"the key of column {shown_name(column)} was not released",
                hint="ask for granted columns only, or ask the owner to grant this one",
            )
        return position

    def ranges(self, row_group: int, columns: Sequence[str] | None = None) -> list[FetchRange]:
        """Byte ranges of a row group that hold some columns, in the order of the object.

        Neighbours less than 64 KiB apart share a range: one request costs more than the gap.

        Raises
        ------
        KeyNotGranted
            A column whose key was not released.
        NotFound
            A column that the table does not have.
        """
        group = self.manifest.row_groups[row_group]
        chosen = self.columns if columns is None else columns
        runs: list[list[int]] = []
        for position in sorted({self._position(name) for name in chosen}):
            if runs and group.offsets[position] - group.offsets[runs[-1][-1] + 1] < (
                _BRIDGED_GAP_BYTES
            ):
                runs[-1].append(position)
            else:
                runs.append([position])
        return [self._range(group.offsets, run) for run in runs]

    def _range(self, offsets: tuple[int, ...], run: list[int]) -> FetchRange:
        start = offsets[run[0]]
        parts = tuple(
            SegmentPart(self._fields[i].name, offsets[i] - start, offsets[i + 1] - offsets[i])
            for i in run
        )
        return FetchRange(start, offsets[run[-1] + 1], parts)

    def area(self, row_group: int, columns: Sequence[str] | None = None) -> PlaintextArea:
        """Return memory for some columns of a row group, each of which is opened once."""
        segments = self.manifest.row_groups[row_group].segments
        chosen = self.columns if columns is None else columns
        lengths = (segments[self._position(name)][0] for name in chosen)
        return PlaintextArea(sum(padded(segment_plaintext_size(length)) for length in lengths))

    def open(
        self, row_group: int, column: str, ciphertext: Buffer, area: PlaintextArea | None = None
    ) -> pa.Array:
        """Check, decrypt, decode and validate one segment.

        Allocates the plaintext and nothing else of its size; the array is a view of it.

        Parameters
        ----------
        row_group
            Number of the row group.
        column
            Name of the column.
        ciphertext
            Exactly the segment's bytes; any buffer, not kept.
        area
            From `area` for this row group; by default one for this column alone.

        Raises
        ------
        SealBroken
            Not the segment that the manifest names, or not one column of the right type and length.
        TooLarge
            There is no memory for the plaintext.
        KeyNotGranted
            The column's key was not released.
        """
        position = self._position(column)
        group = self.manifest.row_groups[row_group]
        length, digest = group.segments[position]
        sealed = memoryview(ciphertext).cast("B")
        if len(sealed) != length:
            raise SealBroken(f"a segment of column {shown_name(column)} has the wrong length")
        if not hmac.compare_digest(blake3(sealed).hexdigest(), digest):
            raise SealBroken(
                f"row group {row_group} of column {shown_name(column)} is not the manifest's"
            )
        area = area or self.area(row_group, [column])
        plaintext = area.buffer(segment_plaintext_size(length))
        context = segment_context(self.manifest.table, self.manifest.version_id, column, row_group)
        open_segment_into(
            self._keys[column],
            context,
            sealed,
            memoryview(plaintext).cast("B"),
            what=f"row group {row_group} of column {shown_name(column)}",
        )
        return decode_column(plaintext, self._fields[position], group.rows)


def iter_batches(
    manifest: Manifest,
    column_keys: Mapping[str, bytes],
    fetch: Fetch,
    columns: Sequence[str] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Open a table row group by row group; memory is one of them.

    Parameters are those of `open_table`.
    """
    reader = RowGroupReader(manifest, column_keys)
    schema = reader.schema_of(columns)
    for number, group in enumerate(manifest.row_groups):
        opened: dict[str, pa.Array] = {}
        area = reader.area(number, schema.names)
        for wanted in reader.ranges(number, schema.names):
            fetched = memoryview(fetch(str(number), wanted.start, wanted.stop)).cast("B")
            if len(fetched) != wanted.stop - wanted.start:
                raise SealBroken(f"row group {number} is shorter or longer than its manifest says")
            for part in wanted.parts:
                segment = fetched[part.offset : part.offset + part.length]
                opened[part.column] = reader.open(number, part.column, segment, area)
        yield batch_of([opened[name] for name in schema.names], schema, group.rows)


def open_table(
    manifest: Manifest,
    column_keys: Mapping[str, bytes],
    fetch: Fetch,
    columns: Sequence[str] | None = None,
) -> pa.Table:
    """Open a table as a whole.

    Parameters
    ----------
    manifest
        From `open_manifest`.
    column_keys
        Key of each granted column.
    fetch
        Returns bytes ``[start, stop)`` of a row-group object.
    columns
        Which columns, in this order; by default all that were granted.

    Returns
    -------
    pyarrow.Table
        One chunk for each row group; a dictionary column has one dictionary, if its index type
        can count all values.

    Raises
    ------
    SealBroken
        Anything is not what the manifest says.
    KeyNotGranted
        A column whose key was not released.
    """
    schema = RowGroupReader(manifest, column_keys).schema_of(columns)
    batches = list(iter_batches(manifest, column_keys, fetch, columns))
    if not schema.names:
        return pa.Table.from_batches([batch_of([], schema, manifest.rows)])
    return unify_dictionaries(pa.Table.from_batches(batches, schema=schema))
