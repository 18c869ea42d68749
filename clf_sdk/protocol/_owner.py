"""What owners and analysts say to a server (docs/protocol.md §11)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from clf_sdk.protocol._document import Base64, Document, Identifier, Mode, Name, Sha256, Version
from clf_sdk.protocol._succession import SignedSuccession


class UploadRequest(Document):
    """Announce a table. The policy is parsed by :class:`clf_sdk.Policy`.

    ``widen`` says that the policy may allow more than the table's present one.
    """

    table: Name
    policy: dict[str, Any]
    widen: bool = False


class PolicyUpdate(Document):
    """Set the policy of a table that is there."""

    policy: dict[str, Any]
    widen: bool = False


class RuleChangeDocument(Document):
    """What became of one rule of a policy."""

    rule: str
    change: Literal["equal", "tighter", "wider"]
    before: str
    after: str


class PolicyChange(Document):
    """The policy that a table has now, and what changed."""

    table: Name
    policy: dict[str, Any]
    changes: list[RuleChangeDocument]


class UploadTicket(Document):
    """Where to put a table's objects, and the key to seal them with."""

    upload: Identifier
    version_id: Identifier
    table_key: Annotated[Base64, Field(repr=False)]
    content_key: Annotated[Base64 | None, Field(repr=False)]
    url: str | None
    ticket: Annotated[str, Field(repr=False)]


class UploadCommit(Document):
    """Publish what was put: the manifest's digest, and tags of its content."""

    version: Sha256
    content: Sha256 | None = None
    same_as: Sha256 | None = None


class ColumnDescription(Document):
    """Name and type of a column."""

    name: str
    type: str
    nullable: bool


class PrivacyBudget(Document):
    """What results with noise may cost of a table in all, and have cost: millionths of epsilon."""

    total_millionths: int
    spent_millionths: int


class TableDescription(Document):
    """What a server tells about a table; never a value of it.

    ``policy`` and ``privacy`` are for its owner; ``privacy`` is null where the policy has no budget
    and none was spent.
    """

    name: Name
    version: Sha256
    version_id: Identifier
    rows: int
    row_groups: int
    columns: list[ColumnDescription]
    sealed_bytes: int
    created_at: int
    policy: dict[str, Any] | None
    privacy: PrivacyBudget | None


MOCK = "mock"
"""Name under which a table's mock is sealed as a document."""


class TableMock(Document):
    """Made-up rows of a table's schema: an Arrow IPC stream, in base64."""

    arrow: Base64


class TableList(Document):
    """All tables of a server."""

    tables: list[TableDescription]


AUTHORITIES_SIGNATURE = "tls-authorities"
"""Domain of the signature over the authorities that a server announces."""


class TlsAuthorities(Document):
    """The certificate authorities under which a server shows its certificate, as PEM."""

    clf: Version
    type: Literal["tls-authorities"]
    server: Sha256
    issued_at: int
    authorities: Annotated[str, Field(max_length=65536)]


class SignedAuthorities(Document):
    """The authorities, and the signature of the server's identity key."""

    authorities: TlsAuthorities
    signature: Base64


class ServerInfo(Document):
    """Who a server is."""

    name: Name
    server: Sha256
    public_key: Base64
    mode: Mode
    protocol_versions: list[int]
    software: str
    tls: SignedAuthorities
    succession: SignedSuccession | None


class ServerEvidenceDocument(Document):
    """Evidence of a server. Binding and collateral are parsed by :mod:`clf_sdk.attestation`."""

    clf: Version
    type: Literal["evidence"]
    quote: str
    binding: dict[str, Any]
    collateral: dict[str, Any] | None


class Problem(Document):
    """An error, as ``application/problem+json`` (RFC 9457)."""

    type: Literal["about:blank"]
    title: str
    status: int
    code: str
    detail: str
    hint: str | None
    rule: str | None
    request_id: str
