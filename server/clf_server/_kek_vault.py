"""A key-encryption key in the transit engine of Vault or OpenBao: it never comes here."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import hvac
import requests

from clf_sdk.errors import ConfigurationError, KeysUnavailable, SealBroken

_TIMEOUT_SECONDS = 10


@dataclass(frozen=True)
class VaultAddress:
    """Where a Vault is, and how to get in.

    Attributes
    ----------
    url
        ``https://…``; plain HTTP to this machine only.
    token_file
        File with a token. It is read for each request, so that an agent may renew it.
    ca_file
        Certificate authority of the Vault; None for those that the system trusts.
    """

    url: str
    token_file: Path
    ca_file: Path | None

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        local = host == "localhost"
        with suppress(ValueError):
            local = local or ipaddress.ip_address(host).is_loopback
        if not host or not (parts.scheme == "https" or (parts.scheme == "http" and local)):
            raise ConfigurationError(
                "vault_url must be an https:// address: table keys travel to it",
                hint="plain http:// is allowed to a Vault, or its agent, on this machine only",
            )

    def token(self) -> str:
        """Read the token.

        Raises
        ------
        KeysUnavailable
            It can't be read.
        """
        try:
            token = self.token_file.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise KeysUnavailable(
                f"the Vault token {self.token_file} can't be read",
                hint="have the Vault agent write it, or the operator",
            ) from error
        if not token or not token.isprintable():
            raise KeysUnavailable(f"{self.token_file} does not hold a Vault token")
        return token


class VaultKek:
    """A key of a transit engine.

    Parameters
    ----------
    address
        Of the Vault.
    mount
        Where its transit engine is mounted.
    key
        Name of the transit key, of a type that authenticates associated data.
    """

    suite = "transit"

    def __init__(self, address: VaultAddress, *, mount: str, key: str) -> None:
        self._address = address
        self._mount = mount
        self._key = key
        self._session = requests.Session()
        self._session.trust_env = False  # neither proxies nor .netrc may see keys
        if address.ca_file is not None:
            self._session.verify = str(address.ca_file)  # hvac takes it from here only

    def __repr__(self) -> str:
        return f"VaultKek({self._address.url}, {self._mount}/{self._key})"

    def _ask(self, operation: str, **parameters: str) -> Any:
        address = self._address
        client = hvac.Client(
            url=address.url,
            token=address.token(),
            timeout=_TIMEOUT_SECONDS,
            allow_redirects=False,
            session=self._session,
        )
        call: Callable[..., Any] = getattr(client.secrets.transit, f"{operation}_data")
        try:
            return call(name=self._key, mount_point=self._mount, **parameters)
        except hvac.exceptions.InvalidRequest:
            raise  # about what was asked: the caller knows what it means
        except (hvac.exceptions.Forbidden, hvac.exceptions.Unauthorized) as error:
            raise KeysUnavailable(
                f"the Vault at {address.url} refuses the token",
                hint=f"its policy must allow `update` on {self._mount}/encrypt/{self._key} and "
                f"{self._mount}/decrypt/{self._key}; has it expired?",
            ) from error
        except hvac.exceptions.VaultError as error:
            raise KeysUnavailable(
                f"the Vault at {address.url} can't {operation}: {type(error).__name__}",
                hint="is it sealed, or its transit engine mounted elsewhere?",
            ) from error
        except (OSError, ValueError) as error:  # requests' errors are of these kinds
            raise KeysUnavailable(
                f"the Vault at {address.url} can't be reached",
                hint="tables stay closed until it answers again; nothing was changed",
            ) from error

    def _field(self, answer: Any, name: str) -> str:
        try:
            value = answer["data"][name]
        except (KeyError, TypeError) as error:
            raise KeysUnavailable(f"{self._address.url} does not answer as a Vault does") from error
        if not isinstance(value, str):
            raise KeysUnavailable(f"{self._address.url} does not answer as a Vault does")
        return value

    def seal(self, key: bytes, context: bytes) -> str:
        """See `Kek.seal`."""
        try:
            answer = self._ask("encrypt", plaintext=_b64(key), associated_data=_b64(context))
        except hvac.exceptions.InvalidRequest as error:
            raise KeysUnavailable(
                f"the Vault at {self._address.url} does not encrypt with {self._key!r}",
                hint="does the key exist, and is its type one with associated data "
                "(aes256-gcm96, chacha20-poly1305)?",
            ) from error
        return self._field(answer, "ciphertext")

    def open(self, sealed: str, context: bytes) -> bytes:
        """See `Kek.open`."""
        try:
            answer = self._ask("decrypt", ciphertext=sealed, associated_data=_b64(context))
        except hvac.exceptions.InvalidRequest as error:
            raise SealBroken(
                f"a stored key does not open with the transit key {self._key!r}",
                hint="was the transit key replaced, or its min_decryption_version raised before "
                "`clf server rotate-key` was run?",
            ) from error
        try:
            return base64.b64decode(self._field(answer, "plaintext"), validate=True)
        except ValueError as error:
            raise KeysUnavailable(f"{self._address.url} does not answer as a Vault does") from error


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
