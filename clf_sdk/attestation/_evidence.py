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
        return evidence_document(self.quote, self.binding.to_json(), self.collateral)

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
        quote, binding, collateral = parse_evidence(document)
        return cls(quote, Binding.from_json(binding), collateral)


def evidence_document(
    quote: bytes, binding: dict[str, Any], collateral: Collateral | None
) -> dict[str, Any]:
    """Return the document of evidence, whatever it is bound to."""
    return {
        "clf": 1,
        "type": "evidence",
        "quote": base64.b64encode(quote).decode(),
        "binding": binding,
        "collateral": collateral.to_json() if collateral else None,
    }


def parse_evidence(document: Any) -> tuple[bytes, Any, Collateral | None]:
    """Return the quote, the unread binding and the collateral of evidence."""
    keys = {"quote", "binding", "collateral"}
    checked = check_document(document, kind="evidence", keys=keys)
    attached = checked["collateral"]
    return (
        decode_base64(checked["quote"], what="quote", max_bytes=MAX_QUOTE_BYTES),
        checked["binding"],
        None if attached is None else Collateral.from_json(attached),
    )
