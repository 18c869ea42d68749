"""What enclave and server say about the people of whom results spoke (docs/protocol.md §8.4)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from clf_sdk.protocol._align import ColumnName
from clf_sdk.protocol._document import Base64, Document, Identifier, Name, Sha256, Version

MEMORY_LIST_SIGNATURE = "memory-list"
"""Domain of a server's signature over what it remembers."""

MEMORY_SIGNATURE = "memory"
"""Domain of an enclave's signature over what a server is to remember."""

MOST_SEALED_BYTES = 32 << 20
MOST_POPULATIONS = 64
_Number = Annotated[int, Field(ge=0)]
_People = Annotated[list[_Number], Field(max_length=MOST_POPULATIONS)]


class MemoryRecord(Document):
    """What a table's results spoke of in an earlier run.

    Attributes
    ----------
    number
        Counts the records of the server.
    job
        Digest of the earlier job.
    servers
        Whose memory secrets open the sets.
    basis
        Names the version and row filter, where rows are counted.
    entity
        Column by which people were counted; null: rows.
    people
        Sizes of the populations.
    groups
        Whether numbers about groups of them were released, whose sizes are not told.
    salt
        Of the key of the sets.
    sealed
        SHA-256 of the sealed sets; null when there are none.
    """

    number: _Number
    job: Sha256
    servers: Annotated[list[Sha256], Field(min_length=1, max_length=64)]
    basis: Sha256
    entity: ColumnName | None
    people: _People
    groups: bool
    salt: Identifier
    sealed: Sha256 | None


class MemoryList(Document):
    """All records of the table of an input, for the server's signature."""

    clf: Version
    type: Literal["memory-list"]
    session: Identifier
    input: Name
    head: _Number
    basis: Sha256
    records: list[MemoryRecord]


class SignedMemoryList(Document):
    """What a server remembers, and its signature."""

    memory: MemoryList
    signature: Base64


class MemoryStatement(Document):
    """What an enclave found, and what the server is to remember.

    Attributes
    ----------
    run, job, input
        Of which run.
    head
        Number of the last record that was compared.
    people, salt, sealed
        As in `MemoryRecord`.
    same
        Number of a record with exactly these sets.
    close
        Numbers of records that the new sets are too close to.
    """

    clf: Version
    type: Literal["memory"]
    run: Identifier
    job: Sha256
    input: Name
    head: _Number
    people: _People
    salt: Identifier
    sealed: Sha256 | None
    same: _Number | None
    close: Annotated[list[_Number], Field(max_length=100_000)]


class MemorySubmission(Document):
    """A statement, the signature of the run's key, and the sealed sets."""

    statement: MemoryStatement
    signature: Base64
    sealed: Base64 | None


class MemoryAnswer(Document):
    """Whether the owner demands to review the outputs of the run."""

    review: bool


class ReleasedShape(Document):
    """What was released about a table, as its owner may know it.

    Attributes
    ----------
    number, job, created_at
        Which record, of which job, since when.
    operation, columns, filters, group_by
        What the job asked: columns null: all.
    people
        Sizes of the populations.
    close
        Digests of earlier jobs that it came too close to.
    """

    number: _Number
    job: Sha256
    created_at: _Number
    operation: Name
    columns: list[ColumnName] | None
    filters: list[str]
    group_by: list[str]
    people: _People
    close: list[Sha256]


class ReleasedShapes(Document):
    """What was released about a table, the latest first."""

    releases: list[ReleasedShape]
