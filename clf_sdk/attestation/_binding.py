"""What a quote is bound to (docs/protocol.md §6.1)."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field
from typing import Any

from clf_sdk.attestation._documents import check_document, decode_base64
from clf_sdk.errors import Malformed
from clf_sdk.keys import PublicKey
from clf_sdk.protocol import canonical_json

_HEX_DIGITS = {"nonce": 64, "server": 64, "run": 32, "job": 64}
_SIGNING_KEY_BYTES = 32


@dataclass(frozen=True)
class Binding:
    """The session, run, job and keys that an enclave's quote speaks for.

    Attributes
    ----------
    nonce
        The server's nonce, 64 hex digits.
    server
        The server's id, 64 hex digits.
    run
        The run's id, 32 hex digits.
    job
        The job's digest, 64 hex digits.
    hpke
        Public key document to which keys are sealed.
    signing_key
        Raw Ed25519 public key that signs results, 32 bytes.

    Raises
    ------
    Malformed
        A field has another form.
    FormatTooNew
        The HPKE suite is unknown.
    """

    nonce: str
    server: str
    run: str
    job: str
    hpke: dict[str, str] = field(hash=False)
    signing_key: bytes

    def __post_init__(self) -> None:
        for name, digits in _HEX_DIGITS.items():
            value = getattr(self, name)
            if not isinstance(value, str) or not re.fullmatch(rf"[0-9a-f]{{{digits}}}", value):
                raise Malformed(f'"{name}" of the binding must be {digits} lower-case hex digits')
        if not isinstance(self.signing_key, bytes) or len(self.signing_key) != _SIGNING_KEY_BYTES:
            raise Malformed('"signing_key" of the binding must have 32 bytes')
        PublicKey.from_document(self.hpke)

    def __repr__(self) -> str:
        return f"Binding(run={self.run[:8]}…, job={self.job[:8]}…, server={self.server[:8]}…)"

    def to_json(self) -> dict[str, Any]:
        """Return the document."""
        return {
            "clf": 1,
            "type": "enclave-binding",
            "nonce": self.nonce,
            "server": self.server,
            "run": self.run,
            "job": self.job,
            "hpke": dict(self.hpke),
            "signing_key": base64.b64encode(self.signing_key).decode(),
        }

    @classmethod
    def from_json(cls, document: Any) -> Binding:
        """Read the document.

        Raises
        ------
        FormatTooNew
            A later version wrote it, or its HPKE suite is unknown.
        Malformed
            It is something else.
        """
        keys = {*_HEX_DIGITS, "hpke", "signing_key"}
        checked = check_document(document, kind="enclave-binding", keys=keys)
        return cls(
            **{name: checked[name] for name in _HEX_DIGITS},
            hpke=checked["hpke"],
            signing_key=decode_base64(
                checked["signing_key"], what="signing key", max_bytes=_SIGNING_KEY_BYTES
            ),
        )

    @property
    def report_data(self) -> bytes:
        """SHA-512 of the canonical JSON: the 64 bytes that the quote must carry."""
        return hashlib.sha512(canonical_json(self.to_json())).digest()
