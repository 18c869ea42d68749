"""How a server's identity names its successor (docs/protocol.md §2.2)."""

from __future__ import annotations

from typing import Literal

from clf_sdk.protocol._document import Base64, Document, Sha256, Version

SUCCESSION_SIGNATURE = "succession"
"""Domain of the old key's signature."""

ACCEPTANCE_SIGNATURE = "succession-acceptance"
"""Domain of the new key's signature."""


class Succession(Document):
    """An old identity, its successor, and until when both are offered."""

    clf: Version
    type: Literal["succession"]
    server: Sha256
    public_key: Base64
    successor: Sha256
    successor_key: Base64
    issued_at: int
    ends_at: int


class SignedSuccession(Document):
    """A succession, and the signatures of both keys."""

    succession: Succession
    signature: Base64
    acceptance: Base64
