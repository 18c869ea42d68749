"""Where a verifier gets collateral when the evidence brings none: here, from a file."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Protocol

from clf_sdk.attestation._collateral import Collateral
from clf_sdk.errors import CollateralUnavailable


class CollateralSource(Protocol):
    """Finds collateral for the platform of a quote."""

    def collateral_for(self, quote: bytes, *, now: int) -> Collateral:
        """Return collateral for a quote, preferably valid at ``now`` (Unix seconds).

        Raises
        ------
        CollateralUnavailable
            There is none to be had.
        """


class FileCollateral:
    """Collateral from one JSON file, read again when the file changes.

    Parameters
    ----------
    path
        A file in the form of docs/protocol.md §6.3, for one kind of platform.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._lock = threading.Lock()
        self._read: tuple[tuple[int, int, int], Collateral] | None = None

    def __repr__(self) -> str:
        return f"FileCollateral({str(self._path)!r})"

    def collateral_for(
        self,
        quote: bytes,  # noqa: ARG002 -- one file is for one kind of platform
        *,
        now: int,  # noqa: ARG002 -- nor is there a choice by time
    ) -> Collateral:
        """See `CollateralSource.collateral_for`."""
        try:
            status = self._path.stat()
        except OSError as error:
            raise CollateralUnavailable(
                f"the collateral file {self._path} can't be read: {error.strerror}",
                hint="fetch collateral for the enclave's platform and put it there",
            ) from error
        identity = (status.st_ino, status.st_mtime_ns, status.st_size)
        with self._lock:
            if self._read is None or self._read[0] != identity:
                self._read = (identity, Collateral.from_file(self._path))
            return self._read[1]
