"""Whether a server can work in a directory."""

from __future__ import annotations

import os
from pathlib import Path

from clf_sdk.errors import ConfigurationError
from clf_server._private import owner_of


def check_directory(directory: Path) -> None:
    """Check that this process may read and write a server's directory.

    Raises
    ------
    ConfigurationError
        It belongs to another user, or is read-only.
    """
    if not directory.is_dir():
        raise ConfigurationError(
            f"there is no directory {directory}",
            hint="make one with `clf server init DIR --name NAME`",
        )
    owner = directory.stat().st_uid
    if os.geteuid() == 0 and owner != 0:
        # What root writes there the server could not read later.
        raise ConfigurationError(
            f"{directory} belongs to {owner_of(directory)}, and this process is root",
            hint=f"run it as {owner_of(directory)}, or `chown -R root {directory}`",
        )
    if os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        return
    if owner != os.geteuid():
        raise ConfigurationError(
            f"{directory} belongs to {owner_of(directory)}, who lets this user not write there",
            hint=f"run the server as {owner_of(directory)}, or give the directory to this user",
        )
    raise ConfigurationError(
        f"{directory} is read-only",
        hint="the server keeps its data there: mount it writable, or `chmod u+rwx` it",
    )
