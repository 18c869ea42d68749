"""The documents that cross a wire, and the canonical JSON they are hashed in."""

from clf_sdk.protocol._audit import AuditEntry
from clf_sdk.protocol._canonical import Json, canonical_json, digest, parse_json
from clf_sdk.protocol._document import (
    PROTOCOL_VERSION,
    Document,
    Identifier,
    Mode,
    Name,
    Sha256,
    check_name,
)
from clf_sdk.protocol._identity import (
    IdentityDocument,
    PrivateIdentityDocument,
    PrivateKeyDocument,
    identity_fingerprint,
)
from clf_sdk.protocol._job import (
    AllowedEnclave,
    InnerJoin,
    JobDocument,
    JobInput,
    Operation,
)
from clf_sdk.protocol._keys import PublicKeyDocument, SealedMessage
from clf_sdk.protocol._owner import (
    ColumnDescription,
    Problem,
    ServerInfo,
    TableDescription,
    TableList,
    UploadCommit,
    UploadRequest,
    UploadTicket,
)
from clf_sdk.protocol._problem import error_from_problem
from clf_sdk.protocol._profile import Profile, Role, write_private
from clf_sdk.protocol._result import (
    RESULT_SIGNATURE,
    ResultEnvelope,
    RunResults,
    SignedResult,
    result_key_info,
)
from clf_sdk.protocol._run import Endpoint, RunRequest
from clf_sdk.protocol._session import (
    SESSION_SIGNATURE,
    BlobAccess,
    Challenge,
    GrantedInput,
    InputKeys,
    ResultAccess,
    Session,
    SessionAccess,
    SessionAnswer,
    SessionKeys,
    SessionRequest,
    session_keys_info,
)

__all__ = [
    "PROTOCOL_VERSION",
    "RESULT_SIGNATURE",
    "SESSION_SIGNATURE",
    "AllowedEnclave",
    "AuditEntry",
    "BlobAccess",
    "Challenge",
    "ColumnDescription",
    "Document",
    "Endpoint",
    "GrantedInput",
    "Identifier",
    "IdentityDocument",
    "InnerJoin",
    "InputKeys",
    "JobDocument",
    "JobInput",
    "Json",
    "Mode",
    "Name",
    "Operation",
    "PrivateIdentityDocument",
    "PrivateKeyDocument",
    "Problem",
    "Profile",
    "PublicKeyDocument",
    "ResultAccess",
    "ResultEnvelope",
    "Role",
    "RunRequest",
    "RunResults",
    "SealedMessage",
    "ServerInfo",
    "Session",
    "SessionAccess",
    "SessionAnswer",
    "SessionKeys",
    "SessionRequest",
    "Sha256",
    "SignedResult",
    "TableDescription",
    "TableList",
    "UploadCommit",
    "UploadRequest",
    "UploadTicket",
    "canonical_json",
    "check_name",
    "digest",
    "error_from_problem",
    "identity_fingerprint",
    "parse_json",
    "result_key_info",
    "session_keys_info",
    "write_private",
]
