"""The file of a receipt: a DSSE envelope in canonical JSON (docs/protocol.md §10.1, steps 1 to 3).

The key stands in the envelope, so the signature is checked before anything inside is read.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field

from clf_sdk.errors import Malformed, TooLarge
from clf_sdk.keys import SigningKey
from clf_sdk.protocol import (
    Base64,
    Document,
    ReceiptPredicate,
    ReceiptStatement,
    Sha256,
    canonical_json,
    parse_json,
)

MOST_RECEIPT_BYTES = 8 << 20


class _EnvelopeSignature(Document):
    keyid: Sha256
    sig: Base64


class _EnvelopeFile(Document):
    payload: Base64
    payload_type: Annotated[Literal["application/vnd.in-toto+json"], Field(alias="payloadType")]
    signatures: Annotated[list[_EnvelopeSignature], Field(min_length=1, max_length=1)]


@dataclass(frozen=True)
class SignedReceipt:
    """A receipt whose signature holds under the key that it names. Nothing else is verified.

    Attributes
    ----------
    data
        The file.
    signing_key
        Raw Ed25519 public key that signed it.
    statement
        What it says.
    """

    data: bytes = field(repr=False)
    signing_key: bytes
    statement: ReceiptStatement

    def __repr__(self) -> str:
        predicate = self.predicate
        return f"SignedReceipt(run {predicate.run[:12]}…, job {predicate.job.digest[:12]}…)"

    @property
    def predicate(self) -> ReceiptPredicate:
        """What the statement says of its subjects."""
        return self.statement.predicate

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file, 64 hex digits."""
        return hashlib.sha256(self.data).hexdigest()

    @classmethod
    def sign(cls, predicate: ReceiptPredicate, key: SigningKey) -> SignedReceipt:
        """Make a receipt with the signing key of a run.

        Raises
        ------
        TooLarge
            It would exceed the limit.
        """
        from clf_sdk.receipt._dsse import PAYLOAD_TYPE, sign_payload  # noqa: PLC0415 - it is slow

        statement = ReceiptStatement.about(predicate)
        payload = statement.canonical()
        signature = sign_payload(payload, key)
        envelope = {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [
                {"keyid": key.public_bytes.hex(), "sig": base64.b64encode(signature).decode()}
            ],
        }
        data = canonical_json(envelope)
        _check_size(data)
        return cls(data=data, signing_key=key.public_bytes, statement=statement)

    @classmethod
    def parse(cls, data: bytes) -> SignedReceipt:
        """Read the file of a receipt and check its signature (steps 1 to 3).

        Raises
        ------
        TooLarge
            It exceeds 8 MiB.
        Malformed
            It is not a receipt, or not in its one form.
        FormatTooNew
            A later version wrote it.
        SignatureInvalid
            The signature does not hold under the key that the receipt names.
        """
        from clf_sdk.receipt._dsse import verify_payload  # noqa: PLC0415 - it is slow

        # 1. The file is the canonical JSON of an envelope with exactly one signature.
        _check_size(data)
        file = _EnvelopeFile.parse(parse_json(data, what="receipt"))
        if file.canonical() != data:
            raise _other_form("file")
        (signed,) = file.signatures

        # 2. The signature holds under the key that keyid is.
        signing_key = bytes.fromhex(signed.keyid)
        verify_payload(file.payload, public_key=signing_key, signature=signed.sig)

        # 3. The payload is the canonical JSON of a statement.
        statement = ReceiptStatement.parse(parse_json(file.payload, what="receipt's payload"))
        if statement.canonical() != file.payload:
            raise _other_form("payload")
        return cls(data=data, signing_key=signing_key, statement=statement)


def _check_size(data: bytes) -> None:
    if len(data) > MOST_RECEIPT_BYTES:
        raise TooLarge(f"the receipt has more than {MOST_RECEIPT_BYTES >> 20} MiB")


def _other_form(what: str) -> Malformed:
    return Malformed(
        f"the receipt's {what} is not canonical JSON",
        hint="keep the file byte for byte as it was fetched",
    )
