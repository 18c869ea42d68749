"""The job: what is to be computed, on what, for whom (docs/protocol.md §3)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from clf_sdk.protocol._document import Document, Name, Sha256, Version
from clf_sdk.protocol._identity import IdentityDocument

ColumnName = Annotated[str, StringConstraints(min_length=1, max_length=1024)]


class JobInput(Document):
    """One table of one owner."""

    name: Name
    server: Sha256
    table: Name
    version: Sha256 | Literal["latest"]
    columns: Annotated[list[ColumnName], Field(min_length=1, max_length=16384)] | None


class InnerJoin(Document):
    """Keep the rows whose keys stand in every input."""

    kind: Literal["inner_join"]
    keys: Annotated[list[ColumnName], Field(min_length=1, max_length=16)]


class Operation(Document):
    """What is computed on the aligned table; the parameters are the operation's own."""

    name: Name
    parameters: dict[str, Any]


def _refuse_zeros(measurement: str) -> str:
    if not measurement.strip("0"):
        raise ValueError("zeros are no measurement")
    return measurement


Measurement = Annotated[Sha256, AfterValidator(_refuse_zeros)]
_U16 = Annotated[int, Field(ge=0, le=0xFFFF)]


class AllowedEnclave(Document):
    """The program that may run a job; what is given must hold."""

    mrenclave: Measurement | None
    mrsigner: Measurement | None
    isv_prod_id: _U16 | None
    min_isv_svn: _U16 | None

    @model_validator(mode="after")
    def _check(self) -> Self:
        signer = (self.mrsigner, self.isv_prod_id, self.min_isv_svn)
        if self.mrenclave is None and None in signer:
            raise ValueError("it pins no program")
        return self


class JobDocument(Document):
    """A job. Its identity is the digest of its canonical JSON."""

    clf: Version
    type: Literal["job"]
    name: Name
    purpose: Annotated[str, StringConstraints(max_length=4000)]
    analyst: IdentityDocument
    inputs: Annotated[list[JobInput], Field(min_length=1, max_length=64)]
    align: InnerJoin
    operation: Operation
    enclave: AllowedEnclave
    recipients: Annotated[list[IdentityDocument], Field(min_length=1, max_length=64)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [entry.name for entry in self.inputs]
        if len(set(names)) != len(names):
            raise ValueError("two inputs have the same name")
        if len(set(self.align.keys)) != len(self.align.keys):
            raise ValueError("a key column is named twice")
        for entry in self.inputs:
            if entry.columns is None:
                continue
            if len(set(entry.columns)) != len(entry.columns):
                raise ValueError(f"input {entry.name} names a column twice")
            if missing := set(self.align.keys) - set(entry.columns):
                raise ValueError(f"input {entry.name} lacks {len(missing)} of the key columns")
        return self

    def servers(self) -> list[str]:
        """Server ids of the owners, in order of first appearance."""
        return list(dict.fromkeys(entry.server for entry in self.inputs))
