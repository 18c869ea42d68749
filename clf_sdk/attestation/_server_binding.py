"""What the quote of a server is bound to (docs/protocol.md §6.5)."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import Any

from clf_sdk.attestation._documents import check_document, decode_base64
from clf_sdk.errors import Malformed
from clf_sdk.protocol import canonical_json

_HEX = ("nonce", "server", "certificate")
_PUBLIC_KEY_BYTES = 32


@dataclass(frozen=True)
class ServerBinding:
    """The identity and the certificate that a server's quote speaks for.

    Attributes
    ----------
    nonce
        The caller's nonce, 64 hex digits.
    server
        The server's id, 64 hex digits.
    public_key
        The server's identity key, raw Ed25519.
    certificate
        SHA-256 of the certificate that its control listener shows, 64 hex digits.

    Raises
    ------
    Malformed
        A field has another form.
    """

    nonce: str
    server: str
    public_key: bytes
    certificate: str

    def __post_init__(self) -> None:
        for name in _HEX:
            value = getattr(self, name)
            if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{64}", value):
                raise Malformed(f'"{name}" of the binding must be 64 lower-case hex digits')
        if not isinstance(self.public_key, bytes) or len(self.public_key) != _PUBLIC_KEY_BYTES:
            raise Malformed('"public_key" of the binding must have 32 bytes')

    def to_json(self) -> dict[str, Any]:
        """Return the document."""
        return {
            "clf": 1,
            "type": "server-binding",
            "nonce": self.nonce,
            "server": self.server,
            "public_key": base64.b64encode(self.public_key).decode(),
            "certificate": self.certificate,
        }

    @classmethod
    def from_json(cls, document: Any) -> ServerBinding:
        """Read the document.

        Raises
        ------
        FormatTooNew
            A later version wrote it.
        Malformed
            It is something else.
        """
        keys = {*_HEX, "public_key"}
        checked = check_document(document, kind="server-binding", keys=keys)
        return cls(
            **{name: checked[name] for name in _HEX},
            public_key=decode_base64(
                checked["public_key"], what="public key", max_bytes=_PUBLIC_KEY_BYTES
            ),
        )

    @property
    def report_data(self) -> bytes:
        """SHA-512 of the canonical JSON: the 64 bytes that the quote must carry."""
        return hashlib.sha512(canonical_json(self.to_json())).digest()
