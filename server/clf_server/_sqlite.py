"""SQLite as a server needs it: durable when a transaction ends, and without a trace of old keys."""

from __future__ import annotations

import contextlib
import mmap
import os
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

_BUSY_SECONDS = 10
_PAGE_BYTES = 32 << 10  # what SQLite maps at a time


def settle_journal(path: Path) -> None:
    """Choose how the database of a file keeps transactions; the file remembers it.

    With a write-ahead log a transaction costs one sync of the disk instead of four. It needs
    mappings that processes share, which an enclave refuses; there SQLite's older journal does the
    same more slowly.
    """
    mode = "WAL" if _maps_shared(path.parent) else "DELETE"
    with contextlib.closing(sqlite3.connect(path, timeout=_BUSY_SECONDS)) as connection:
        if mode == "DELETE":
            # Nobody else can have it open then, and a log that another machine left is readable.
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute(f"PRAGMA journal_mode={mode}").fetchone()


def _maps_shared(directory: Path) -> bool:
    """Tell whether files of a directory can be mapped so that processes share them."""
    with tempfile.TemporaryFile(dir=directory) as file:
        os.truncate(file.fileno(), _PAGE_BYTES)
        try:
            mmap.mmap(file.fileno(), _PAGE_BYTES, flags=mmap.MAP_SHARED).close()
        except OSError:
            return False
    return True


def configure_sqlite(connection: Any, _record: Any) -> None:
    """Prepare a new connection of SQLAlchemy's pool."""
    cursor = connection.cursor()
    # EXTRA: without it a power cut can bring the journal of a finished transaction back.
    # secure_delete: a destroyed key must not linger in a free page of the file.
    for pragma in (
        "synchronous=EXTRA",
        "foreign_keys=ON",
        "secure_delete=ON",
        f"busy_timeout={_BUSY_SECONDS * 1000}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def wipe_log(connection: Any) -> None:
    """Empty the write-ahead log, in which pages with keys that were destroyed may still lie.

    Parameters
    ----------
    connection
        One of Python's own, outside of any transaction.
    """
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
