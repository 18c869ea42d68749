"""The evidence that an enclave sends (docs/protocol.md §6.2)."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from clf_sdk.attestation._binding import Binding
from clf_sdk.attestation._collateral import Collateral
from clf_sdk.attestation._documents import check_document, decode_base64
from clf_sdk.attestation._quote import MAX_QUOTE_BYTES


@dataclass(frozen=True)
class Evidence:
    """A quote, the binding that it signs and, if the enclave has it, collateral. Unverified."""

    quote: bytes
    binding: Binding
    collateral: Collateral | None = None

    def __repr__(self) -> str:
        attached = "with" if self.collateral else "no"
        return f"Evidence({len(self.quote)} B quote, {self.binding!r}, {attached} collateral)"

    def to_json(self) -> dict[str, Any]:
        """Return the document."""
        return {
            "clf": 1,
            "type": "evidence",
            "quote": base64.b64encode(self.quote).decode(),
            "binding": self.binding.to_json(),
            "collateral": self.collateral.to_json() if self.collateral else None,
        }

    @classmethod
    def from_json(cls, document: Any) -> Evidence:
        """Read the document. A quote may have 16 KiB, collateral 1 MiB.

        Raises
        ------
        FormatTooNew
            A later version wrote it.
        Malformed
            It is something else, or too large.
        CollateralMalformed
            The attached collateral can't be read.
        """
        keys = {"quote", "binding", "collateral"}
        checked = check_document(document, kind="evidence", keys=keys)
        attached = checked["collateral"]
        return cls(
            quote=decode_base64(checked["quote"], what="quote", max_bytes=MAX_QUOTE_BYTES),
            binding=Binding.from_json(checked["binding"]),
            collateral=None if attached is None else Collateral.from_json(attached),
        )
