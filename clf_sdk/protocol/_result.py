"""The envelope of one sealed output (docs/protocol.md §10)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

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
    version_id: Identifier
    version: Sha256
    manifest_bytes: int
    row_groups: Annotated[list[int], Field(max_length=100_000)]
    keys: Annotated[list[SealedMessage], Field(min_length=1, max_length=64)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.output not in self.outputs:
            raise ValueError("the output is not among the outputs")
        return self


class SignedResult(Document):
    """An envelope and the enclave's signature over it."""

    envelope: ResultEnvelope
    signature: Base64


class RunResults(Document):
    """All outputs of a run that a server holds."""

    run: Identifier
    outputs: list[SignedResult]


def result_key_info(
    *, run: str, job: str, output: str, version: str, recipient: str
) -> dict[str, Any]:
    """HPKE ``info`` that an output's key is bound to; ``recipient`` is an identity id."""
    return {
        "clf": 1,
        "type": "result-key",
        "run": run,
        "job": job,
        "output": output,
        "version": version,
        "recipient": recipient,
    }
