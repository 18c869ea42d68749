"""What a receipt says: an in-toto statement (docs/protocol.md §10.1)."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints

from clf_sdk.errors import FormatTooNew
from clf_sdk.protocol._align import ColumnName
from clf_sdk.protocol._document import (
    Base64,
    Document,
    Identifier,
    Mode,
    Name,
    Sha256,
    Version,
)
from clf_sdk.protocol._job import JobDocument
from clf_sdk.protocol._rules import Rules
from clf_sdk.protocol._session import Session

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:clf:receipt:v1"
_LATER = re.compile(r"urn:clf:receipt:v([2-9]|[1-9][0-9]{1,8})", re.ASCII)

_MOST_OWNERS = _MOST_INPUTS = _MOST_OUTPUTS = _MOST_RECIPIENTS = 64
_U16 = Annotated[int, Field(ge=0, le=0xFFFF)]
_Rows = Annotated[int, Field(ge=0)]


class MeasuredProgram(Document):
    """The program that ran, as its quotes show it."""

    mrenclave: Sha256
    mrsigner: Sha256
    isv_prod_id: _U16
    isv_svn: _U16


class OwnerProof(Document):
    """What the enclave proved to one owner, and what that owner signed in return.

    The evidence is parsed by :mod:`clf_sdk.attestation`.
    """

    public_key: Base64
    evidence: dict[str, Any]
    session: Session
    signature: Base64


class ReceiptInput(Document):
    """One input as it was used; ``source`` as in `GrantedInput`."""

    name: Name
    server: Sha256
    table: Name
    version: Sha256
    source: Sha256 | None
    columns: list[ColumnName]
    rows: _Rows


class ReceiptOutput(Document):
    """One output, and the digests of those to whom it was sealed."""

    name: Name
    version: Sha256
    recipients: Annotated[list[Sha256], Field(min_length=1, max_length=_MOST_RECIPIENTS)]


class Suppressed(Document):
    """Cells that one rule kept out of an output.

    Attributes
    ----------
    rule
        Name of the rule; ``"complementary"``: they would have given away what others hide.
    cells
        How many: groups that are left out, or numbers that are missing.
    servers
        The owners whose rule it was, by server id; several where several forbid it.
    """

    rule: Name
    cells: Annotated[int, Field(ge=1)]
    servers: Annotated[list[Sha256], Field(min_length=1, max_length=_MOST_OWNERS)]


class NoisedInput(Document):
    """Who is a person of an input, and what one can change.

    Attributes
    ----------
    input
        Name of the input.
    person
        ``"entity"``: rows with one value of the owner's column; ``"key"``: with one value of the
        keys; ``"row"``: each row.
    columns
        The column or the keys.
    changed_rows
        Most aligned rows that go or come when one person goes or comes.
    """

    input: Name
    person: Literal["entity", "key", "row"]
    columns: list[ColumnName]
    changed_rows: Annotated[int, Field(ge=1)]


class NoisedStatistic(Document):
    """The noise of one statistic; a mean has two entries, of its sum and its count.

    Attributes
    ----------
    name
        Its name in the job.
    epsilon
        What it costs.
    sensitivity
        Most that one person changes it.
    scale
        Of the noise.
    lower, upper
        Bounds of values, from the job.
    """

    name: Name
    epsilon: Annotated[float, Field(gt=0)]
    sensitivity: Annotated[float, Field(gt=0)]
    scale: Annotated[float, Field(gt=0)]
    lower: float | None
    upper: float | None


class NoiseReport(Document):
    """What noise an output carries, by which library, and whom it protects.

    Attributes
    ----------
    library, mechanism
        What makes the noise.
    max_rows_per_person
        Most rows of a person that each table was cut to.
    inputs
        Whom it protects.
    statistics
        The noise.
    """

    library: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    mechanism: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    max_rows_per_person: Annotated[int, Field(ge=1)]
    inputs: Annotated[list[NoisedInput], Field(max_length=_MOST_INPUTS)]
    statistics: Annotated[list[NoisedStatistic], Field(max_length=256)]


class OutputReport(Document):
    """What was checked on one output, and what it lacks because of that.

    Attributes
    ----------
    output
        Its name.
    checked
        Names of the rules that it was held against.
    suppressed
        What they kept out.
    noise
        What noise it carries; null: none.
    """

    output: Name
    checked: Annotated[list[Name], Field(max_length=32)]
    suppressed: Annotated[list[Suppressed], Field(max_length=32)]
    noise: NoiseReport | None


class DisclosureReport(Document):
    """The rules that the program enforced, and what they had to be enforced on.

    Attributes
    ----------
    rules
        The tightest of the rules of all owners.
    row_level
        Names of the outputs that hold rows of single people.
    outputs
        What became of each output, in their order.
    """

    rules: Rules
    row_level: Annotated[list[Name], Field(max_length=_MOST_OUTPUTS)]
    outputs: Annotated[list[OutputReport], Field(max_length=_MOST_OUTPUTS)]


class ReceiptPredicate(Document):
    """How the outputs came about."""

    clf: Version
    type: Literal["receipt"]
    run: Identifier
    mode: Mode
    job: JobDocument
    program: MeasuredProgram
    owners: Annotated[list[OwnerProof], Field(min_length=1, max_length=_MOST_OWNERS)]
    inputs: Annotated[list[ReceiptInput], Field(min_length=1, max_length=_MOST_INPUTS)]
    aligned_rows: _Rows | None
    outputs: Annotated[list[ReceiptOutput], Field(min_length=1, max_length=_MOST_OUTPUTS)]
    disclosure: DisclosureReport


class ReceiptDigest(Document):
    """In-toto's digest of a subject: here, an output's dataset version."""

    sha256: Sha256


class ReceiptSubject(Document):
    """An output by name and digest."""

    name: Name
    digests: Annotated[ReceiptDigest, Field(alias="digest")]


class ReceiptStatement(Document):
    """An in-toto Statement v1 whose predicate is a receipt."""

    statement_type: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")]
    subject: Annotated[list[ReceiptSubject], Field(min_length=1, max_length=_MOST_OUTPUTS)]
    predicate_type: Annotated[Literal["urn:clf:receipt:v1"], Field(alias="predicateType")]
    predicate: ReceiptPredicate

    @classmethod
    def parse(cls, value: Any) -> Self:
        """See `Document.parse`."""
        kind = value.get("predicateType") if isinstance(value, dict) else None
        if isinstance(kind, str) and _LATER.fullmatch(kind):
            raise FormatTooNew(
                f"the receipt is of type {kind}, this side knows {PREDICATE_TYPE}",
                hint="upgrade CLF on this side",
            )
        return super().parse(value)

    @classmethod
    def about(cls, predicate: ReceiptPredicate) -> Self:
        """Make the statement that a predicate belongs in: its subjects are the outputs."""
        return cls.parse(
            {
                "_type": STATEMENT_TYPE,
                "subject": [
                    {"name": output.name, "digest": {"sha256": output.version}}
                    for output in predicate.outputs
                ],
                "predicateType": PREDICATE_TYPE,
                "predicate": predicate.to_json(),
            }
        )
