"""Public HPKE keys and what is sealed to them (docs/protocol.md §5)."""

from __future__ import annotations

from clf_sdk.protocol._document import Document


class PublicKeyDocument(Document):
    """A public HPKE key."""

    suite: str
    public_key: str


class SealedMessage(Document):
    """A message sealed with HPKE."""

    suite: str
    sealed: str
