"""The job: what is to be computed, on what, for whom (docs/protocol.md §3)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from clf_sdk.protocol._align import (
    MOST_DEPTH,
    AlignNode,
    ColumnName,
    InputNode,
    JoinNode,
    inputs_of,
    walk,
)
from clf_sdk.protocol._document import Document, Name, Sha256, Version
from clf_sdk.protocol._identity import IdentityDocument
from clf_sdk.protocol._prepare import PrepareStep

LEAST_MEMORY_BYTES = 256 * 2**20


class JobInput(Document):
    """One table of one owner."""

    name: Name
    server: Sha256
    table: Name
    version: Sha256 | Literal["latest"]
    columns: Annotated[list[ColumnName], Field(min_length=1, max_length=16384)] | None


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
    """A job. Its identity is the digest of its canonical JSON.

    Attributes
    ----------
    align
        How the inputs become one table.
    match_report
        Whether how many rows of each input found a partner is an output, too.
    prepare
        What is done to that table, step by step, before the operation.
    memory_limit_bytes
        Above it, joins and scans go on in encrypted files; null: all stays in memory.
    """

    clf: Version
    type: Literal["job"]
    name: Name
    purpose: Annotated[str, StringConstraints(max_length=4000)]
    analyst: IdentityDocument
    inputs: Annotated[list[JobInput], Field(min_length=1, max_length=64)]
    align: AlignNode
    match_report: bool
    prepare: Annotated[list[PrepareStep], Field(max_length=256)]
    operation: Operation
    memory_limit_bytes: Annotated[int, Field(ge=LEAST_MEMORY_BYTES, le=2**50)] | None
    enclave: AllowedEnclave
    recipients: Annotated[list[IdentityDocument], Field(min_length=1, max_length=64)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [entry.name for entry in self.inputs]
        if len(set(names)) != len(names):
            raise ValueError("two inputs have the same name")
        for entry in self.inputs:
            if entry.columns is not None and len(set(entry.columns)) != len(entry.columns):
                raise ValueError(f"input {entry.name} names a column twice")
        self._check_align()
        return self

    def _check_align(self) -> None:
        if any(depth > MOST_DEPTH for _, depth in walk(self.align)):
            raise ValueError(f"the alignment is nested deeper than {MOST_DEPTH}")
        beside = self._inputs_beside()
        aligned = [entry.name for entry in self.inputs if entry.name not in beside]
        if sorted(inputs_of(self.align)) != sorted(aligned):
            raise ValueError("the alignment must use each input exactly once")
        columns = {entry.name: entry.columns for entry in self.inputs}
        for node, _ in walk(self.align):
            if not isinstance(node, JoinNode):
                continue
            for member in node.members:
                if not isinstance(member.of, InputNode):
                    continue
                chosen = columns[member.of.input]
                keys = member.columns or [key.name for key in node.keys]
                if chosen is not None and (missing := set(keys) - set(chosen)):
                    raise ValueError(
                        f"input {member.of.input} lacks {len(missing)} of the key columns"
                    )

    def _inputs_beside(self) -> set[Any]:
        """Return the inputs that are not aligned: the model of ``score``."""
        if self.operation.name != "score":
            return set()
        model = self.operation.parameters.get("model")
        if model not in [entry.name for entry in self.inputs]:
            raise ValueError("the model of score must be one of the inputs")
        return {model}

    def servers(self) -> list[str]:
        """Server ids of the owners, in order of first appearance."""
        return list(dict.fromkeys(entry.server for entry in self.inputs))
