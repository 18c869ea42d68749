"""What an enclave and a server say to open a session (docs/protocol.md §8)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from clf_sdk.protocol._align import ColumnName
from clf_sdk.protocol._document import (
    Base64,
    Document,
    Identifier,
    Mode,
    Name,
    Sha256,
    Sha512,
    Version,
)
from clf_sdk.protocol._job import JobDocument
from clf_sdk.protocol._keys import PublicKeyDocument, SealedMessage
from clf_sdk.protocol._rules import Rules

SESSION_SIGNATURE = "session"
"""Domain of the signature over a session document."""

MOST_SECRETS = 16
MOST_SECRET_BYTES = 64 << 10
_YEAR_10000 = 253_402_300_800  # beyond it no calendar can show a time


class ChallengeRequest(Document):
    """Step 1: the server id that the job pins, of those that the server may have."""

    server: Sha256


class Challenge(Document):
    """Step 1: the server's nonce."""

    nonce: Sha256
    server: Sha256
    public_key: Base64
    expires_in_seconds: int


_SecretNames = Annotated[list[Name], Field(max_length=MOST_SECRETS)]


class SessionRequest(Document):
    """Step 4: evidence, job, and names of secrets (docs/protocol.md §8.3).

    The evidence is parsed by :mod:`clf_sdk.attestation`.
    """

    evidence: dict[str, Any]
    job: JobDocument
    secrets: _SecretNames = Field(default_factory=list)


class GrantedInput(Document):
    """One input that the server grants.

    ``source`` is the table's dataset version when a row filter made the granted version from it;
    null when the table's own version is granted. ``entity`` is the column by which the owner tells
    people apart, if it names one; its key is released whether the job asks for it or not.
    ``epsilon_millionths`` is what this run has taken from the table's privacy budget for the noise
    of this enclave; 0 for a job without noise.
    """

    name: Name
    table: Name
    version_id: Identifier
    version: Sha256
    source: Sha256 | None
    columns: list[ColumnName]
    entity: ColumnName | None
    epsilon_millionths: Annotated[int, Field(ge=0)]
    manifest_bytes: int

    @property
    def released(self) -> list[str]:
        """Columns whose keys are released: those of the job, then that of the people."""
        if self.entity is None or self.entity in self.columns:
            return list(self.columns)
        return [*self.columns, self.entity]


class BlobAccess(Document):
    """How to pull ciphertext."""

    url: str | None
    ticket: str
    expires_in_seconds: int


class ResultAccess(Document):
    """How to put results, and the key to which an owner's share of their keys is sealed."""

    ticket: str
    key: PublicKeyDocument


class SessionAccess(Document):
    """Step 9: what only the enclave may have. The session commits to its digest."""

    keys: SealedMessage
    blobs: BlobAccess
    results: ResultAccess


class TakenGrant(Document):
    """What a session takes from the grant that an approved job is (docs/protocol.md §3.3).

    ``number`` tells which of the approved ``runs`` this is, from 1; ``resumed`` whether another
    enclave carried the run before.
    """

    number: int
    runs: int
    expires_at: int
    resumed: bool


class Session(Document):
    """Step 9: what the server grants and when, for its signature. It holds no secret."""

    clf: Version
    type: Literal["session"]
    server: Sha256
    session: Identifier
    nonce: Sha256
    binding: Sha512
    run: Identifier
    job: Sha256
    mode: Mode
    granted_at: Annotated[int, Field(ge=0, lt=_YEAR_10000)]
    grant: TakenGrant
    inputs: list[GrantedInput]
    secrets: _SecretNames
    rules: Rules
    access: Sha256


class SessionAnswer(Document):
    """Step 9: the session, the signature of the server's identity key, and what it commits to.

    The collateral is parsed by :mod:`clf_sdk.attestation`.
    """

    session: Session
    signature: Base64
    access: SessionAccess
    collateral: dict[str, Any] | None


class InputKeys(Document):
    """Keys of one input."""

    manifest_key: Base64
    columns: dict[ColumnName, Base64]


class SessionKeys(Document):
    """Step 11: plaintext of the sealed keys; ``memory`` is the memory secret (§8.4)."""

    inputs: Annotated[dict[Name, InputKeys], Field(max_length=64)]
    secrets: Annotated[dict[Name, Base64], Field(max_length=MOST_SECRETS)]
    memory: Base64 | None


def session_keys_info(*, binding: str, server: str, session: str) -> dict[str, Any]:
    """HPKE ``info`` that the session keys are bound to."""
    return {
        "clf": 1,
        "type": "session-keys",
        "binding": binding,
        "server": server,
        "session": session,
    }
