"""The envelope of one sealed output (docs/protocol.md §10)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from clf_sdk.protocol._document import Base64, Document, Identifier, Mode, Name, Sha256, Version
from clf_sdk.protocol._keys import SealedMessage

RESULT_SIGNATURE = "result"
"""Domain of the signature over a result envelope."""


class ResultEnvelope(Document):
    """What an output is, and its key for each recipient."""

    clf: Version
    type: Literal["result"]
    run: Identifier
    job: Sha256
    mode: Mode
    output: Name
    outputs: Annotated[list[Name], Field(min_length=1, max_length=64)]
    kind: Literal["table", "document"]
    shape: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2, max_length=2)] | None
    version_id: Identifier
    version: Sha256
    objects: Annotated[dict[str, Annotated[int, Field(ge=0)]], Field(max_length=100_001)]
    reviewers: Annotated[list[Sha256], Field(max_length=64)]
    keys: Annotated[list[SealedMessage], Field(min_length=1, max_length=64)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.output not in self.outputs:
            raise ValueError("the output is not among the outputs")
        if self.reviewers != sorted(set(self.reviewers)):
            raise ValueError("the reviewers are not in order")
        if (self.shape is None) != (self.kind == "document"):
            raise ValueError("a table has a shape, a document has none")
        if self.kind == "document":
            expected = {"document"}
        else:
            expected = {"manifest", *map(str, range(len(self.objects) - 1))}
        if set(self.objects) != expected:
            raise ValueError("the objects are not those of an output of this kind")
        return self


class SignedResult(Document):
    """An envelope and the enclave's signature over it."""

    envelope: ResultEnvelope
    signature: Base64


class ResultSubmission(Document):
    """What an enclave puts to one owner when an output's objects are there.

    ``share`` is a `ReleaseShare`, sealed to the key of the session, for an owner who reviews.
    """

    envelope: ResultEnvelope
    signature: Base64
    share: SealedMessage | None


ReleaseStatus = Literal["at_once", "pending", "released", "refused"]
"""Whether an owner keeps its share of an output's key; ``at_once``: it has none."""


class HeldResult(Document):
    """An output as a server holds it, and what its owner decided."""

    envelope: ResultEnvelope
    signature: Base64
    created_at: int
    release: ReleaseStatus
    decided_at: int | None
    reason: str | None


class RunResults(Document):
    """All outputs of a run that a server holds."""

    run: Identifier
    outputs: list[HeldResult]


class RunSummary(Document):
    """A run that left results."""

    run: Identifier
    job: Sha256
    created_at: int


class RunList(Document):
    """Runs that left results, the newest first."""

    runs: list[RunSummary]


class ReleaseShare(Document):
    """One owner's share of an output's key, sealed for each recipient, in the job's order."""

    clf: Version
    type: Literal["release-share"]
    run: Identifier
    job: Sha256
    output: Name
    version: Sha256
    server: Sha256
    keys: Annotated[list[SealedMessage], Field(min_length=1, max_length=64)]


class ReleaseList(Document):
    """Outputs that an owner reviews."""

    releases: list[HeldResult]


class ReleaseDecision(Document):
    """What an owner decides on an output."""

    decision: Literal["approve", "refuse"]
    reason: Annotated[str, StringConstraints(max_length=1000)]


def result_key_info(
    *, run: str, job: str, output: str, version: str, recipient: str
) -> dict[str, Any]:
    """HPKE ``info`` of the part of an output's key that every owner holds."""
    return {
        "clf": 1,
        "type": "result-key",
        "run": run,
        "job": job,
        "output": output,
        "version": version,
        "recipient": recipient,
    }


def share_info(envelope: ResultEnvelope, *, server: str, recipient: str) -> dict[str, Any]:
    """HPKE ``info`` of one owner's share for one recipient; ``recipient`` is an identity id."""
    return {
        "clf": 1,
        "type": "release-share",
        "run": envelope.run,
        "job": envelope.job,
        "output": envelope.output,
        "version": envelope.version,
        "server": server,
        "recipient": recipient,
    }


def share_delivery_info(envelope: ResultEnvelope, *, server: str, session: str) -> dict[str, Any]:
    """HPKE ``info`` under which a share travels to the owner who keeps it."""
    return {
        "clf": 1,
        "type": "release-share-delivery",
        "run": envelope.run,
        "output": envelope.output,
        "version": envelope.version,
        "server": server,
        "session": session,
    }
