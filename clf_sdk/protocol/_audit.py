"""Entries of the audit log, and what a server says about it (docs/protocol.md §14)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from clf_sdk.protocol._document import Base64, Document, Mode, Sha256, Version
from clf_sdk.protocol._succession import SignedSuccession

_LAST_SECOND = 253_402_300_799  # of the year 9999
Event = Annotated[str, StringConstraints(pattern=r"^[a-z]{1,31}\.[a-z]{1,32}$")]


class AuditEntry(Document):
    """One decision of a server. Its canonical JSON is a leaf of the log's Merkle tree."""

    clf: Version
    type: Literal["audit-entry"]
    index: Annotated[int, Field(ge=0)]
    time: Annotated[int, Field(ge=0, le=_LAST_SECOND)]
    mode: Mode
    event: Event
    request: Annotated[str, StringConstraints(max_length=64)] | None
    details: dict[str, Any]


class SignedCheckpoint(Document):
    """A checkpoint as a signed note, and the identity key that signed it."""

    checkpoint: str
    public_key: Base64


class MerkleProof(Document):
    """Hashes of a proof, from the bottom upwards."""

    hashes: Annotated[list[Base64], Field(max_length=128)]


class AuditExportHeader(Document):
    """First line of an exported log."""

    clf: Version
    type: Literal["audit-export"]
    server: Sha256
    public_key: Base64
    checkpoint: str
    successions: list[SignedSuccession] = Field(default_factory=list)


class AuditProof(Document):
    """One entry, and the proof that it stands in a server's log."""

    clf: Version
    type: Literal["audit-proof"]
    server: Sha256
    public_key: Base64
    checkpoint: str
    entry: AuditEntry
    hashes: Annotated[list[Base64], Field(max_length=128)]
