"""Passphrases: where they come from, and the age files that they protect (C2SP age)."""

from __future__ import annotations

import builtins
import getpass
import os
import sys
import warnings
from pathlib import Path

import pyrage

from clf_sdk.errors import ConfigurationError, FormatTooNew, IdentityLocked

_VARIABLE = "CLF_PASSPHRASE_FILE"
_MAGIC = b"age-encryption.org/"
_VERSION = b"v1\n"


def is_encrypted(data: bytes) -> bool:
    """Tell an age file from other files."""
    return data.startswith(_MAGIC)


def encrypt(plaintext: bytes, passphrase: str) -> bytes:
    """Encrypt to a passphrase, as an age file (scrypt, about a second of work)."""
    return pyrage.passphrase.encrypt(plaintext, passphrase)


def decrypt(data: bytes, passphrase: str, *, what: str) -> bytes:
    """Decrypt an age file.

    Raises
    ------
    FormatTooNew
        It is of a later version of the age format.
    IdentityLocked
        The passphrase is another one, or the file was changed.
    """
    if not data.startswith(_MAGIC + _VERSION):
        raise FormatTooNew(f"{what} was encrypted by a later version", hint="upgrade CLF")
    try:
        return pyrage.passphrase.decrypt(data, passphrase)
    except pyrage.DecryptError as error:
        raise IdentityLocked(
            f"{what} does not open: a wrong passphrase, or a damaged file",
            hint="try again; without its passphrase an identity is lost",
        ) from error


def read_passphrase_file(path: str | os.PathLike[str]) -> str:
    """Return the first line of a file.

    Raises
    ------
    ConfigurationError
        It can't be read, or the line is empty.
    """
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the passphrase file {path} can't be read") from error
    if not lines or not lines[0]:
        raise ConfigurationError(f"the passphrase file {path} is empty")
    return lines[0]


def configured_passphrase() -> str | None:
    """Return the passphrase in the file that ``CLF_PASSPHRASE_FILE`` names, if it is set."""
    path = os.environ.get(_VARIABLE)
    return read_passphrase_file(path) if path else None


def find_passphrase(given: str | None, *, what: str) -> str:
    """Return the passphrase that was given, or stands in the variable's file, or is typed now.

    Raises
    ------
    IdentityLocked
        There is none, and nobody to ask.
    """
    if given is not None:
        return given
    if (configured := configured_passphrase()) is not None:
        return configured
    locked = IdentityLocked(
        f"{what} is protected by a passphrase",
        hint=f"give passphrase=…, or name a file that holds it in {_VARIABLE}",
    )
    if not (sys.stdin.isatty() or hasattr(builtins, "__IPYTHON__")):
        raise locked
    try:
        with warnings.catch_warnings():
            # Where the terminal can't be kept from showing what is typed, nothing is typed.
            warnings.simplefilter("error", getpass.GetPassWarning)
            return getpass.getpass(f"Passphrase of {what}: ")
    except (EOFError, NotImplementedError, getpass.GetPassWarning) as error:
        raise locked from error  # such as a notebook that runs without its user
