"""Bring a server to this version: its database, and then what only the server's keys can do."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from clf_server._config import load_config
from clf_server._identities import Identities
from clf_server._metadata import Metadata
from clf_server._migrate import migrate
from clf_server._tokens import Tokens

_TOKENS_SIGNED = "0006"


@dataclass(frozen=True)
class Upgrade:
    """What was done.

    Attributes
    ----------
    before, after
        Revisions of the database.
    signed_tokens
        How many tokens, of before tokens were signed, hold on.
    """

    before: str | None
    after: str
    signed_tokens: int


def upgrade(directory: Path) -> Upgrade:
    """Bring a server to this version.

    Raises
    ------
    FormatTooNew
        A later version of CLF has made its database.
    ConfigurationError
        A file is missing.
    """
    config = load_config(directory)
    before, after = migrate(config.database)
    return Upgrade(before, after, sign_tokens(directory, before=before))


def sign_tokens(directory: Path, *, before: str | None) -> int:
    """Sign the tokens of a database that was of an older revision; return how many they are."""
    if before is None or before >= _TOKENS_SIGNED:
        return 0
    with closing(Metadata(load_config(directory).database)) as metadata:
        identity = Identities(metadata, directory).current()
        with metadata.transaction() as connection:
            return Tokens(metadata).sign_anew(connection, identity, before=None)
