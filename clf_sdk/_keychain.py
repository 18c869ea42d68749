"""The operating system's keyring, as a place for one identity."""

from __future__ import annotations

import keyring
import keyring.errors

from clf_sdk.errors import ConfigurationError, IdentityLocked

_SERVICE, _USER = "clf", "identity"
_LEAST_PRIORITY = 1  # below it stand keyring's own stand-ins, which keep nothing or hide nothing


def keychain_available() -> bool:
    """Tell whether a keyring that protects its content can be used here."""
    return bool(keyring.get_keyring().priority >= _LEAST_PRIORITY)


def read_keychain() -> bytes | None:
    """Return the stored identity, or None when there is none.

    Raises
    ------
    IdentityLocked
        The keyring does not open.
    """
    try:
        stored = keyring.get_password(_SERVICE, _USER)
    except keyring.errors.KeyringError as error:
        raise IdentityLocked("the keyring does not open", hint="unlock it and try again") from error
    return None if stored is None else stored.encode()


def write_keychain(data: bytes) -> None:
    """Store an identity.

    Raises
    ------
    ConfigurationError
        There is no keyring on this machine, or it has an identity already.
    IdentityLocked
        The keyring does not open.
    """
    if not keychain_available():
        raise ConfigurationError(
            "this machine has no keyring that could keep an identity",
            hint="protect the identity with a passphrase instead, or set up a keyring "
            "(`python -m keyring diagnose` shows what was looked for)",
        )
    if read_keychain() is not None:
        raise ConfigurationError("the keyring holds an identity already")
    try:
        keyring.set_password(_SERVICE, _USER, data.decode())
    except keyring.errors.KeyringError as error:
        raise IdentityLocked("the keyring does not open", hint="unlock it and try again") from error
