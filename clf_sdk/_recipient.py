"""The key to which results are sealed for a person."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import platformdirs

from clf_sdk.errors import ConfigurationError, FormatTooNew, Malformed
from clf_sdk.keys import PrivateKey
from clf_sdk.protocol import (
    PROTOCOL_VERSION,
    PublicKeyDocument,
    canonical_json,
    digest,
    parse_json,
    write_private,
)

_FIELDS = {"clf", "type", "suite", "private_key"}


class RecipientKey:
    """A private HPKE key of a person; results are sealed to its public half.

    Make one with `RecipientKey.create`, or let `RecipientKey.mine` keep one for you.
    """

    def __init__(self, key: PrivateKey) -> None:
        self._key = key
        self.public = PublicKeyDocument(**key.public.to_document())

    def __repr__(self) -> str:
        return f"RecipientKey({self.fingerprint[:16]}…)"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the public key document: 64 hex digits."""
        return digest(self.public.to_json())

    @classmethod
    def create(cls) -> RecipientKey:
        """Make a fresh key, in memory."""
        return cls(PrivateKey.generate())

    @classmethod
    def mine(cls) -> RecipientKey:
        """Return this user's key, and make it at the first use.

        It lies in the user's data directory, readable by the user only.
        """
        path = Path(platformdirs.user_data_dir("clf")) / "recipient.key.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            cls.create().save(path)
        return cls.load(path)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the key to a file of mode 0600, which must not exist.

        Raises
        ------
        ConfigurationError
            The file exists already.
        """
        if Path(path).exists():
            raise ConfigurationError(
                f"{path} exists already", hint="a key is never overwritten; choose another file"
            )
        document = {
            "clf": PROTOCOL_VERSION,
            "type": "recipient-key",
            "suite": self._key.suite,
            "private_key": base64.b64encode(self._key.private_bytes()).decode(),
        }
        write_private(path, canonical_json(document))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RecipientKey:
        """Read a key file.

        Raises
        ------
        ConfigurationError
            It can't be read, or is not a key file.
        FormatTooNew
            A later version of CLF wrote it.
        """
        try:
            document = parse_json(Path(path).read_bytes(), what="key file")
        except OSError as error:
            raise ConfigurationError(
                f"the key file {path} can't be read: {error.strerror}"
            ) from error
        except Malformed as error:
            raise ConfigurationError(f"{path} is not a recipient's key file") from error
        version = document.get("clf") if isinstance(document, dict) else None
        if isinstance(version, int) and version > PROTOCOL_VERSION:
            raise FormatTooNew(f"{path} was written by a later version", hint="upgrade CLF")
        if (
            type(version) is not int
            or version != PROTOCOL_VERSION
            or set(document) != _FIELDS
            or document["type"] != "recipient-key"
            or not isinstance(document["suite"], str)
        ):
            raise ConfigurationError(f"{path} is not a recipient's key file")
        try:
            raw = base64.b64decode(document["private_key"], validate=True)
            return cls(PrivateKey(document["suite"], raw))
        except FormatTooNew:
            raise
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"the key in {path} is damaged") from error

    def open(self, sealed: Any, *, info: dict[str, Any]) -> bytes:
        """Open what was sealed to this key.

        Raises
        ------
        SealBroken
            It was sealed to another key, or for another context.
        """
        return self._key.open(sealed, info=info)
