"""Jobs: what an analyst wants to have computed, on whose tables."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clf_sdk._cards import Identifier, Shown, card
from clf_sdk._connection import any_simulated, known_names
from clf_sdk._identity import Identity
from clf_sdk._job_words import describe_document
from clf_sdk._public_identity import PublicIdentity
from clf_sdk._table import SharedTable
from clf_sdk.align import join
from clf_sdk.attestation import EnclavePolicy
from clf_sdk.errors import ConfigurationError, InvalidJob, Malformed
from clf_sdk.protocol import (
    AlignNode,
    AllowedEnclave,
    Endpoint,
    InputNode,
    JobDocument,
    JobInput,
    JoinNode,
    LinkNode,
    Operation,
    PrepareStep,
    UnionNode,
    canonical_json,
    check_name,
    inputs_of,
    parse_json,
    walk,
)

if TYPE_CHECKING:
    from clf_sdk.operations import Parameters


@dataclass(frozen=True)
class Job:
    """A job: inputs, how they are joined and prepared, one operation, and who may read the result.

    Parameters
    ----------
    name
        What the job is called.
    inputs
        Tables by the name they have in this job, or a list of tables with distinct names. Choose
        columns with ``table[["a", "b"]]``.
    on
        Key column or columns of an inner join of all inputs. For everything else, `align`.
    align
        How the inputs become one table, by ``clf.align.join``, ``union``, ``link`` or a tree of
        them. A job with one input needs neither.
    prepare
        Steps from ``clf.prepare``, done in this order before the operation.
    operation
        For example `GLM`.
    match_report
        Whether to report how many rows of each input found a partner.
    memory_limit_bytes
        Above it, joins and scans go on in files that are encrypted under a key which dies with
        the run; None: all stays in memory.
    enclave
        The program that may run the job: its MRENCLAVE as 64 hex digits, or what an `EnclavePolicy`
        pins of a program. Which platforms are trusted is up to the owners' policies alone.
    purpose
        In plain words, for the owners.
    analyst
        Who asks, and signs the job when it is submitted; by default this user.
    recipients
        Who may read the result; by default the analyst alone.

    Raises
    ------
    InvalidJob
        The parts do not fit together.
    """

    document: JobDocument
    endpoints: tuple[Endpoint, ...] = field(repr=False, compare=False)

    def __init__(
        self,
        *,
        name: str,
        inputs: Mapping[str, SharedTable] | Sequence[SharedTable],
        on: str | Sequence[str] | None = None,
        align: AlignNode | None = None,
        prepare: Sequence[PrepareStep] = (),
        operation: Parameters,
        enclave: EnclavePolicy | str,
        match_report: bool = False,
        memory_limit_bytes: int | None = None,
        purpose: str = "",
        analyst: Identity | PublicIdentity | None = None,
        recipients: Sequence[Identity | PublicIdentity] | None = None,
    ) -> None:
        from clf_sdk.operations import output_recipients  # noqa: PLC0415 - who makes a job has it

        check_name(name, what="a job")
        tables = (
            dict(inputs) if isinstance(inputs, Mapping) else {table.name: table for table in inputs}
        )
        if not tables or len(tables) != len(inputs):
            raise InvalidJob(
                "a job needs inputs with distinct names",
                hint="name them with a dictionary: inputs={'clinic': table, …}",
            )
        beside = operation.inputs_beside()
        tree = _tree([alias for alias in tables if alias not in beside], on, align)
        keys = _keys_of_inputs(tree)
        asking = _public(Identity.mine() if analyst is None else analyst)
        readers = [asking] if recipients is None else [_public(who) for who in recipients]
        try:
            document = JobDocument(
                clf=1,
                type="job",
                name=name,
                purpose=purpose,
                analyst=asking.document,
                inputs=[
                    _input(alias, table, keys.get(alias, [])) for alias, table in tables.items()
                ],
                align=tree,
                match_report=match_report,
                prepare=list(prepare),
                operation=Operation(name=operation.operation, parameters=operation.to_json()),
                memory_limit_bytes=memory_limit_bytes,
                enclave=_allowed(enclave),
                recipients=[who.document for who in readers],
            )
        except ValueError as error:
            raise _invalid(error) from None
        operation.check_job(document, {})
        for output in operation.row_level_outputs():
            output_recipients(document, operation, output)
        connections = {table.connection.server: table.connection for table in tables.values()}
        object.__setattr__(self, "document", document)
        object.__setattr__(
            self, "endpoints", tuple(connection.endpoint for connection in connections.values())
        )

    def __repr__(self) -> str:
        document = self.document
        inputs = ", ".join(entry.name for entry in document.inputs)
        warning = "; INSECURE SIMULATION" if any_simulated(document.servers()) else ""
        return (
            f"Job({document.name!r}: {document.operation.name} on {inputs}; "
            f"digest {self.digest[:12]}…{warning})"
        )

    def _repr_html_(self) -> str:
        rows: dict[str, Shown] = {"Digest": Identifier(self.digest)}
        rows |= describe_document(self.document, known_names())
        return card("Job", self.name, rows, simulation=any_simulated(self.document.servers()))

    @property
    def name(self) -> str:
        """Name of the job."""
        return self.document.name

    @property
    def digest(self) -> str:
        """Identity of the job: SHA-256 of its canonical JSON, 64 hex digits."""
        return self.document.digest

    def to_json(self) -> dict[str, Any]:
        """Return the job document (docs/protocol.md §3)."""
        return self.document.to_json()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the job document to a file."""
        Path(path).write_bytes(canonical_json(self.to_json()) + b"\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, endpoints: Sequence[Endpoint]) -> Job:
        """Read a job document from a file.

        Parameters
        ----------
        path
            The file.
        endpoints
            Where the servers of its inputs can be reached.

        Raises
        ------
        ConfigurationError
            The file can't be read.
        InvalidJob
            It is not a job document.
        """
        try:
            document = JobDocument.parse(parse_json(Path(path).read_bytes(), what="job file"))
        except OSError as error:
            raise ConfigurationError(f"{path} can't be read: {error.strerror}") from error
        except Malformed as error:
            raise InvalidJob(f"{path} is not a job: {error.message}") from error
        return cls.of(document, endpoints=endpoints)

    @classmethod
    def of(cls, document: JobDocument, *, endpoints: Sequence[Endpoint]) -> Job:
        """Return the job of a job document.

        Parameters
        ----------
        document
            The job document.
        endpoints
            Where the servers of its inputs can be reached.
        """
        job = cls.__new__(cls)
        object.__setattr__(job, "document", document)
        object.__setattr__(job, "endpoints", tuple(endpoints))
        return job


def _public(who: Identity | PublicIdentity) -> PublicIdentity:
    return who.public if isinstance(who, Identity) else who


def _allowed(enclave: EnclavePolicy | str) -> AllowedEnclave:
    pinned = EnclavePolicy(mrenclave=enclave) if isinstance(enclave, str) else enclave
    return AllowedEnclave(
        mrenclave=pinned.mrenclave,
        mrsigner=pinned.mrsigner,
        isv_prod_id=pinned.isv_prod_id,
        min_isv_svn=pinned.min_isv_svn,
    )


def _tree(
    names: Sequence[str], on: str | Sequence[str] | None, align: AlignNode | None
) -> AlignNode:
    """Return the alignment; ``on`` alone means an inner join of all inputs."""
    if on is not None and align is not None:
        raise InvalidJob("a job is aligned by on or by align, not by both")
    if align is not None:
        return align
    if on is None:
        if len(names) > 1:
            raise InvalidJob(
                "a job with several inputs needs to know how they are aligned",
                hint='for example on="person_id", or align=clf.align.union(…)',
            )
        return InputNode(kind="input", input=names[0])
    return join(*names, on=on)


def _keys_of_inputs(tree: AlignNode) -> dict[str, list[str]]:
    """Return the columns by which each input is joined or linked, by the name of the input."""
    keys: dict[str, list[str]] = {}

    def need(node: AlignNode, columns: Sequence[str]) -> None:
        for name in inputs_of(node):
            found = keys.setdefault(name, [])
            found += [column for column in columns if column not in found]

    for node, _ in walk(tree):
        if isinstance(node, JoinNode):
            for member in node.members:
                if isinstance(member.of, InputNode | UnionNode):
                    need(member.of, member.columns or [key.name for key in node.keys])
        elif isinstance(node, LinkNode):
            for side, linked in (("left", node.left), ("right", node.right)):
                if isinstance(linked.of, InputNode | UnionNode):
                    need(linked.of, [getattr(each, side) for each in node.comparisons])
    return keys


def _input(alias: str, table: SharedTable, keys: Sequence[str]) -> JobInput:
    check_name(alias, what="an input")
    columns = None if table.columns is None else list(table.columns)
    if columns is not None:
        columns = [*(key for key in keys if key not in columns), *columns]
    known = [column.name for column in table.description.columns]
    if missing := [key for key in keys if key not in known]:
        raise InvalidJob(
            f"table {table.name!r} has no key column {missing[0]!r}",
            hint=f"it has: {', '.join(known[:20])}",
        )
    return JobInput(
        name=alias,
        server=table.connection.server,
        table=table.name,
        version=table.version,
        columns=columns,
    )


def _invalid(error: ValueError) -> InvalidJob:
    if isinstance(error, InvalidJob):
        return error
    from pydantic import ValidationError  # noqa: PLC0415 - only needed for the message

    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        return InvalidJob(f"{place or 'the job'}: {first['msg']}")
    return InvalidJob(str(error))
