"""Analysts whom servers know."""

from __future__ import annotations

import functools
import time
from pathlib import Path

from clf_sdk import Identity, PublicIdentity
from clf_sdk.protocol import Profile
from clf_server._analysts import Analyst, Analysts
from clf_server._config import load_config
from clf_server._identities import Identities
from clf_server._metadata import Metadata
from clf_server._profiles import make_profile
from clf_server._tokens import Tokens


@functools.cache
def the_analyst() -> Identity:
    """Return the analyst whom every server of the tests knows."""
    return Identity.create()


def admit(
    directory: Path, analyst: PublicIdentity, *, label: str, lifetime_seconds: int = 86400
) -> Profile:
    """Make an analyst known to a server, and return the profile of a token for it.

    As the operator's commands do it, but the audit log stays as it is.
    """
    config, now = load_config(directory), int(time.time())
    metadata = Metadata(config.database)
    try:
        analysts, tokens = Analysts(metadata), Tokens(metadata)
        with metadata.transaction() as connection:
            analysts.add(connection, Analyst(analyst, label, now))
            identity = Identities(metadata, directory).present(connection)
            secret, token = tokens.issue(
                connection,
                identity,
                role="analyst",
                label=label,
                analyst=analyst.id,
                created_at=now,
                expires_at=now + lifetime_seconds,
            )
        profile = make_profile(config, identity, token, secret=secret)
        profile.save(directory / f"{label}.profile.json")
    finally:
        metadata.close()
    return profile
