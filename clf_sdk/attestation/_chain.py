"""Certificates of a PEM chain, and the public key in which it ends."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

if TYPE_CHECKING:
    from clf_sdk.errors import AttestationError

PARSE_ERRORS = (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, Warning)
"""What `cryptography` raises for certificates and CRLs that it can't read.

Some violations of RFC 5280 are only warned about, which raises where warnings are errors.
"""


def public_key_der(certificate: x509.Certificate) -> bytes:
    """SubjectPublicKeyInfo of a certificate."""
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@lru_cache(maxsize=64)
def _last_key(chain_pem: bytes) -> bytes:
    return public_key_der(x509.load_pem_x509_certificates(chain_pem)[-1])


def chain_root_key(chain_pem: bytes, error: type[AttestationError]) -> bytes:
    """SubjectPublicKeyInfo of the last certificate of a chain.

    This says which root a chain *names*, to tell a wrong anchor from a broken signature. That the
    signatures hold is decided elsewhere, against the anchor itself.
    """
    try:
        return _last_key(chain_pem)
    except PARSE_ERRORS as cause:
        raise error("a certificate chain is not readable PEM") from cause
