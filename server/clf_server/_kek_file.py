"""Key-encryption keys in files of mode 0600."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from clf_sdk.errors import ConfigurationError
from clf_sdk.protocol import write_private
from clf_server._kek import KEK_BYTES, AesKek


def create_file_kek(path: Path) -> AesKek:
    """Write a fresh key to a file that must not exist.

    Raises
    ------
    ConfigurationError
        The file exists, or can't be written.
    """
    key = secrets.token_bytes(KEK_BYTES)
    write_private(path, key)
    sync_folder(path.parent)
    return AesKek(key)


def load_file_kek(path: Path) -> AesKek:
    """Read the key of a file.

    Raises
    ------
    ConfigurationError
        It is missing, damaged, or readable by others.
    """
    try:
        mode = path.stat().st_mode & 0o777
        key = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"the key-encryption key {path} can't be read: {error.strerror}",
            hint="without it the tables of this server can't be opened; restore it from backup",
        ) from error
    if mode & 0o077:
        raise ConfigurationError(
            f"the key-encryption key {path} is readable by others (mode {mode:o})",
            hint=f"run `chmod 600 {path}` and consider who may have read it",
        )
    if len(key) != KEK_BYTES:
        raise ConfigurationError(f"the key-encryption key {path} does not have {KEK_BYTES} bytes")
    return AesKek(key)


def destroy_file(path: Path) -> None:
    """Overwrite a small secret file in place, then delete it; nothing happens if there is none.

    File systems that copy on write, and flash memory, keep the old blocks for a while.
    """
    try:
        with path.open("r+b", buffering=0) as file:
            file.write(os.urandom(max(KEK_BYTES, path.stat().st_size)))
            os.fsync(file.fileno())
    except FileNotFoundError:
        return
    path.unlink()
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
