"""Files that nobody but their owner may read."""

from __future__ import annotations

import pwd
from pathlib import Path

from clf_sdk.errors import ConfigurationError

_OTHERS = 0o077


def owner_of(path: Path) -> str:
    """Return the name of the user to whom a file belongs; the number of one without a name."""
    number = path.stat().st_uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def check_private(path: Path, *, what: str) -> None:
    """Check that a file is there, and that nobody but its owner may read or write it.

    Raises
    ------
    ConfigurationError
        It is not; the message says who may and what to do.
    """
    try:
        mode = path.stat().st_mode & 0o777
    except OSError as error:
        raise ConfigurationError(f"{what} {path} can't be read: {error.strerror}") from error
    if mode & _OTHERS:
        raise ConfigurationError(
            f"{what} {path} is open to others (mode {mode:o})",
            hint=f"run `chmod 600 {path}` and consider who may have read it",
        )


def read_private(path: Path, *, what: str) -> bytes:
    """Read a file that only its owner may read.

    Raises
    ------
    ConfigurationError
        It can't be read, or others can read it.
    """
    check_private(path, what=what)
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{what} {path} can't be read: {error.strerror}",
            hint=f"it belongs to {owner_of(path)}; run the server as that user",
        ) from error
