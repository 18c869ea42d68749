"""One operator's work on keys at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clf_sdk.errors import ConfigurationError


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Keep a second rotation on a server's directory away.

    Raises
    ------
    ConfigurationError
        Another one runs.
    """
    descriptor = os.open(directory / ".rotation.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigurationError(
                f"another rotation runs on {directory}", hint="wait until it ends"
            ) from error
        yield
    finally:
        os.close(descriptor)
