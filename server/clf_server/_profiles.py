"""The profile file of a token: all that a person needs to reach this server."""

from __future__ import annotations

from clf_sdk.keys import SigningKey, server_id
from clf_sdk.protocol import Profile
from clf_server._config import ServerConfig
from clf_server._renewal import announced_authorities
from clf_server._tokens import StoredToken

PROFILE_SUFFIX = ".profile.json"


def make_profile(
    config: ServerConfig, identity: SigningKey, token: StoredToken, *, secret: str
) -> Profile:
    """Return the profile of a token, whose secret is known only now.

    Raises
    ------
    ConfigurationError
        The authority's certificate, which lies beside the server's, can't be read.
    """
    return Profile(
        clf=1,
        type="profile",
        role=token.role,
        label=token.label,
        analyst=token.analyst,
        name=config.name,
        url=f"https://{config.public_host}:{config.port}",
        ca=announced_authorities(config),
        server=server_id(identity.public_bytes),
        token=secret,
        expires_at=token.expires_at,
        authorities_at=token.created_at,  # what was announced before is older than `ca`
        successions=[],
    )
