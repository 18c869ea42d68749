"""The only module that talks to securesystemslib, which signs and verifies DSSE envelopes.

It is imported where it is needed, not before: the library loads clients of every cloud's key store.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, Signature, SSlibKey

from clf_sdk.errors import SignatureInvalid
from clf_sdk.keys import SigningKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"


def _public(raw: bytes) -> SSlibKey:
    """Return an Ed25519 key as the library knows it; its id is the key itself."""
    text = raw.hex()
    return SSlibKey(text, keytype="ed25519", scheme="ed25519", keyval={"public": text})


def sign_payload(payload: bytes, key: SigningKey) -> bytes:
    """Sign the pre-authentication encoding of an in-toto payload."""
    private = Ed25519PrivateKey.from_private_bytes(key.private_bytes())
    signer = CryptoSigner(private, _public(key.public_bytes))
    return bytes.fromhex(Envelope(payload, PAYLOAD_TYPE, {}).sign(signer).signature)


def verify_payload(payload: bytes, *, public_key: bytes, signature: bytes) -> None:
    """Check that a signature over an in-toto payload is by the holder of a key.

    Raises
    ------
    SignatureInvalid
        It is not.
    """
    key = _public(public_key)
    envelope = Envelope(payload, PAYLOAD_TYPE, {key.keyid: Signature(key.keyid, signature.hex())})
    try:
        envelope.verify([key], threshold=1)
    except VerificationError as error:
        raise SignatureInvalid(
            "the receipt's signature does not hold",
            hint="the file was changed; ask an owner of the job for its copy",
        ) from error
