"""The authorities that a server announces: taken up when its identity key signed them (§2.1)."""

from __future__ import annotations

from cryptography import x509

from clf_sdk.errors import Malformed, ServerIdentityMismatch, SignatureInvalid
from clf_sdk.keys import server_id, verify_signature
from clf_sdk.protocol import AUTHORITIES_SIGNATURE, Profile, SignedAuthorities

_MOST_AUTHORITIES = 4


def with_authorities(profile: Profile, signed: SignedAuthorities, public_key: bytes) -> Profile:
    """Return a profile that trusts the authorities that its server announces.

    Parameters
    ----------
    profile
        What is trusted so far.
    signed
        What the server announces.
    public_key
        The identity key that it shows.

    Returns
    -------
    Profile
        The same one when nothing changed, or when what was announced is older than what it has: a
        statement that was recorded before the last change must not bring an old authority back.

    Raises
    ------
    ServerIdentityMismatch
        The identity that the profile pins did not sign it.
    Malformed
        It holds no certificates.
    """
    announced = signed.authorities
    # 1. The identity that the profile pins signed it: whoever holds a TLS key only could not.
    try:
        verify_signature(public_key, AUTHORITIES_SIGNATURE, announced.to_json(), signed.signature)
    except SignatureInvalid as error:
        raise ServerIdentityMismatch(
            "the authorities that the server announces are not signed by its identity key"
        ) from error
    if not server_id(public_key) == announced.server == profile.server:
        raise ServerIdentityMismatch("the authorities are those of another server")

    # 2. It says something new, and is newer than what the profile has.
    if announced.authorities == profile.ca or announced.issued_at <= profile.authorities_at:
        return profile

    # 3. It holds certificates.
    try:
        found = x509.load_pem_x509_certificates(announced.authorities.encode())
    except ValueError as error:
        raise Malformed("the server announces authorities that are no certificates") from error
    if len(found) > _MOST_AUTHORITIES:
        raise Malformed(f"the server announces more than {_MOST_AUTHORITIES} authorities")
    changes = {"ca": announced.authorities, "authorities_at": announced.issued_at}
    return profile.model_copy(update=changes)
