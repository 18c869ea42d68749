"""A server that got a new identity, followed when the pinned one says so (protocol, §2.2)."""

from __future__ import annotations

from collections.abc import Sequence

from clf_sdk.errors import ServerIdentityMismatch, SignatureInvalid
from clf_sdk.keys import server_id, verify_signature
from clf_sdk.protocol import (
    ACCEPTANCE_SIGNATURE,
    SUCCESSION_SIGNATURE,
    Profile,
    ServerInfo,
    SignedSuccession,
)


def with_identity(profile: Profile, info: ServerInfo, *, now: float) -> Profile:
    """Return a profile that pins the identity that its server shows.

    Parameters
    ----------
    profile
        What is pinned so far.
    info
        What the server says about itself.
    now
        This machine's clock, in Unix seconds.

    Returns
    -------
    Profile
        The same one when the pinned identity answers.

    Raises
    ------
    ServerIdentityMismatch
        Another identity answers, and the pinned one does not name it as its successor.
    """
    shown = server_id(info.public_key)
    if info.server == shown == profile.server:
        return profile
    signed = info.succession
    if info.server != shown or signed is None:
        raise _another_server(profile)

    # 1. The pinned identity names the one that answers, and that one accepts.
    succession = signed.succession
    if (succession.server, succession.successor) != (profile.server, shown):
        raise _another_server(profile)
    check_signatures(signed)

    # 2. The overlap has not ended.
    if now >= succession.ends_at:
        raise ServerIdentityMismatch(
            f"the server at {profile.url} has a new identity, and the time in which this profile "
            "could follow is over",
            hint="ask its operator for the current profile",
        )

    # 3. From now on the successor is pinned.
    changes = {"server": shown, "successions": [*profile.successions, signed]}
    return profile.model_copy(update=changes)


def check_signatures(signed: SignedSuccession) -> None:
    """Check that both identities of a succession signed it.

    Raises
    ------
    ServerIdentityMismatch
        They did not.
    """
    succession = signed.succession
    document = succession.to_json()
    try:
        if (server_id(succession.public_key), server_id(succession.successor_key)) != (
            succession.server,
            succession.successor,
        ):
            raise SignatureInvalid("the identities are not those of the keys")
        verify_signature(succession.public_key, SUCCESSION_SIGNATURE, document, signed.signature)
        verify_signature(
            succession.successor_key, ACCEPTANCE_SIGNATURE, document, signed.acceptance
        )
    except SignatureInvalid as error:
        raise ServerIdentityMismatch(
            "the server's new identity is not the successor that it claims to be"
        ) from error


def former_keys(successions: Sequence[SignedSuccession], *, server: str) -> dict[str, bytes]:
    """Return the identity keys that led to a server's present identity, by server id.

    Parameters
    ----------
    successions
        The oldest first.
    server
        The present identity.

    Raises
    ------
    ServerIdentityMismatch
        They do not lead there, or were not signed by both keys.
    """
    keys = {}
    for signed in reversed(successions):
        check_signatures(signed)
        if signed.succession.successor != server:
            raise ServerIdentityMismatch("the successions do not lead to the server's identity")
        server = signed.succession.server
        keys[server] = signed.succession.public_key
    return keys


def _another_server(profile: Profile) -> ServerIdentityMismatch:
    return ServerIdentityMismatch(
        f"the server at {profile.url} is not the one of the profile",
        hint="ask its operator for the current profile",
    )
