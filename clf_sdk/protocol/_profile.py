"""The profile file: all that a person needs to reach one server."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Literal

from clf_sdk.errors import ConfigurationError, FormatTooNew, Malformed
from clf_sdk.protocol._canonical import parse_json
from clf_sdk.protocol._document import Document, Name, Sha256, Version
from clf_sdk.protocol._succession import SignedSuccession

Role = Literal["owner", "analyst"]


class Profile(Document):
    """Endpoint, certificate authority, server identity and token of one server.

    ``analyst`` is the identity id of the analyst to whom the token belongs; None for an owner's.
    ``authorities_at`` says when the server signed the authorities of ``ca``, or when the operator
    put them in. ``successions`` say how the server came to this identity from one that the profile
    pinned before.
    """

    clf: Version
    type: Literal["profile"]
    role: Role
    label: Name
    analyst: Sha256 | None
    name: Name
    url: str
    ca: str
    server: Sha256
    token: str
    expires_at: int
    authorities_at: int
    successions: list[SignedSuccession]

    def __repr__(self) -> str:
        return f"Profile({self.role} at {self.name}, {self.url}, server={self.server[:12]}…)"

    __str__ = __repr__

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Profile:
        """Read a profile file.

        Raises
        ------
        ConfigurationError
            There is no such file, or it is not a profile.
        """
        file = Path(path)
        try:
            return cls.parse(parse_json(file.read_bytes(), what="profile file"))
        except OSError as error:
            raise ConfigurationError(
                f"the profile file {file} can't be read: {error.strerror}",
                hint="the server's operator makes one with `clf server token create`",
            ) from error
        except FormatTooNew:
            raise
        except Malformed as error:
            raise ConfigurationError(f"{file} is not a profile file: {error.message}") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the profile, readable by its owner only, to a file that must not exist.

        Raises
        ------
        ConfigurationError
            The file exists already.
        """
        write_private(path, json.dumps(self.to_json(), indent=2).encode() + b"\n")

    def replace(self, path: str | os.PathLike[str]) -> None:
        """Write the profile in the place of an older one, all at once.

        Raises
        ------
        ConfigurationError
            It can't be written; the older one is as it was.
        """
        file = Path(path)
        part = file.with_name(f".{file.name}.{secrets.token_hex(4)}.new")
        try:
            self.save(part)
            os.replace(part, file)  # noqa: PTH105 - as documented: atomic
        except OSError as error:
            raise ConfigurationError(f"{file} can't be written: {error.strerror}") from error
        finally:
            part.unlink(missing_ok=True)


def write_private(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a secret to a new file of mode 0600, all at once or not at all.

    Raises
    ------
    ConfigurationError
        The file exists already, for a key is never overwritten; or it can't be written.
    """
    file = Path(path)
    part = file.with_name(f".{file.name}.{secrets.token_hex(4)}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        file.hardlink_to(part)
    except FileExistsError as error:
        raise ConfigurationError(
            f"{file} exists already", hint="what is secret is never overwritten; name another file"
        ) from error
    except OSError as error:
        raise ConfigurationError(f"{file} can't be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
