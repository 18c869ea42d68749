"""The server's configuration file, ``clf_server.conf``: ``key = value`` lines, ``#`` comments."""

from __future__ import annotations

import configparser
import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from clf_sdk.errors import ConfigurationError
from clf_sdk.protocol import Mode, check_name

if TYPE_CHECKING:
    from clf_server._kek_vault import VaultAddress

CONFIG_NAME = "clf_server.conf"
KeyProvider = Literal["file", "gramine", "vault"]
_SECTION = "clf_server"
_MAX_PORT = 65535
_MOST_RESUME_SECONDS = 86400


@dataclass(frozen=True)
class ServerConfig:
    """Settings of one server.

    Attributes
    ----------
    directory
        Where the server keeps everything.
    name
        What the server is called.
    host, port
        Address of the control listener (HTTPS).
    public_host
        Name or address by which enclaves and people reach the server.
    blob_port
        Port of the plain-HTTP listener for ciphertext; None when it is switched off.
    server_cert_path, server_private_key_path
        TLS certificate chain and key.
    insecure_simulation
        Anchor of a simulated TEE that is trusted *instead of* Intel's root, or None.
    pccs_url, collateral_file
        Where collateral comes from when the evidence brings none.
    resume_seconds
        How long after its first session a run may go on in another enclave; 0 is never.
    max_upload_bytes
        Size limit of one upload.
    evidence
        Where the server's own quotes come from: ``none``, or ``gramine``.
    insecure_simulated_evidence
        Simulated TEE that makes the server's own quotes *instead of* SGX, or None.
    key_provider
        Who keeps the key-encryption key.
    key_directory
        Where the provider ``file`` keeps it.
    attestation_path
        Gramine's pseudo-files.
    sealing_key
        Which sealing key the provider ``gramine`` uses: ``mrsigner`` or ``mrenclave``.
    vault_url, vault_token_file, vault_ca_file
        How the provider ``vault`` is reached.
    vault_mount, vault_key
        Its transit engine, and the key in it.
    """

    directory: Path
    name: str
    host: str
    port: int
    public_host: str
    blob_port: int | None
    server_cert_path: Path
    server_private_key_path: Path
    insecure_simulation: Path | None
    pccs_url: str | None
    collateral_file: Path | None
    resume_seconds: int
    max_upload_bytes: int
    evidence: str
    insecure_simulated_evidence: Path | None
    key_provider: KeyProvider
    key_directory: Path
    attestation_path: Path
    sealing_key: str
    vault_url: str | None
    vault_mount: str
    vault_key: str | None
    vault_token_file: Path | None
    vault_ca_file: Path | None

    @property
    def key_settings(self) -> dict[str, str]:
        """Which key the key provider is to use, where it has several.

        Raises
        ------
        ConfigurationError
            A setting that the provider needs is missing.
        """
        if self.key_provider == "gramine":
            return {"sealing_key": self.sealing_key}
        if self.key_provider == "vault":
            if self.vault_key is None:
                raise _needed("vault_key")
            return {"mount": self.vault_mount, "key": self.vault_key}
        return {}

    @property
    def vault_address(self) -> VaultAddress:
        """Where the provider ``vault`` is.

        Raises
        ------
        ConfigurationError
            A setting is missing, or the address is not one to send keys to.
        """
        from clf_server._kek_vault import VaultAddress  # noqa: PLC0415 - few servers use a Vault

        if self.vault_url is None:
            raise _needed("vault_url")
        if self.vault_token_file is None:
            raise _needed("vault_token_file")
        return VaultAddress(self.vault_url, self.vault_token_file, self.vault_ca_file)

    @property
    def mode(self) -> Mode:
        """Whether the server trusts real hardware or a simulated TEE."""
        return "dcap" if self.insecure_simulation is None else "simulation"


def _needed(key: str) -> ConfigurationError:
    return ConfigurationError(
        f"{CONFIG_NAME}: the key provider vault needs {key!r}", hint="see docs/server.md"
    )


def _one_of(*values: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in values:
            raise ValueError
        return text

    return parse


def _port(text: str) -> int:
    port = int(text)
    if not 1 <= port <= _MAX_PORT:
        raise ValueError
    return port


def _blob_port(text: str) -> int | None:
    return None if text == "off" else _port(text)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _seconds(text: str) -> int:
    seconds = int(text)
    if not 0 <= seconds <= _MOST_RESUME_SECONDS:
        raise ValueError
    return seconds


_KEYS: dict[str, tuple[Callable[[str], Any], str | None, str]] = {
    # key: (parser, default, what it must be)
    "name": (lambda text: check_name(text, what="a server"), None, "a name"),
    "host": (str, "127.0.0.1", "an address"),
    "port": (_port, "4433", "a port"),
    "public_host": (str, "localhost", "a host name or address"),
    "blob_port": (_blob_port, "4480", "a port, or off"),
    "server_cert_path": (Path, "tls/server.pem", "a path"),
    "server_private_key_path": (Path, "tls/server.key", "a path"),
    "insecure_simulation": (Path, "", "a path"),
    "pccs_url": (str, "", "a URL"),
    "collateral_file": (Path, "", "a path"),
    "resume_seconds": (_seconds, "900", "a number of seconds from 0 to 86400"),
    "max_upload_bytes": (_positive, str(1 << 40), "a number of bytes"),
    "evidence": (_one_of("none", "gramine"), "none", "none or gramine"),
    "insecure_simulated_evidence": (Path, "", "a path"),
    "key_provider": (_one_of(*get_args(KeyProvider)), "file", "file, gramine or vault"),
    "key_directory": (Path, ".", "a path"),
    "attestation_path": (Path, "/dev/attestation", "a path"),
    "sealing_key": (_one_of("mrsigner", "mrenclave"), "mrsigner", "mrsigner or mrenclave"),
    "vault_url": (str, "", "a URL"),
    "vault_mount": (str, "transit", "a path in the Vault"),
    "vault_key": (str, "", "the name of a transit key"),
    "vault_token_file": (Path, "", "a path"),
    "vault_ca_file": (Path, "", "a path"),
}


def load_config(directory: Path) -> ServerConfig:
    """Read ``clf_server.conf`` in a server's directory.

    Raises
    ------
    ConfigurationError
        It is missing, has an unknown key, or a value that can't be used.
    """
    file = directory / CONFIG_NAME
    parser = configparser.ConfigParser(
        delimiters=("=",), comment_prefixes=("#",), interpolation=None, default_section=""
    )
    try:
        parser.read_string(f"[{_SECTION}]\n" + file.read_text("utf-8"), source=str(file))
    except OSError as error:
        raise ConfigurationError(
            f"{file} can't be read: {error.strerror}",
            hint="make a server directory with `clf server init DIR --name NAME`",
        ) from error
    except (configparser.Error, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{file} is not a configuration file", hint="it holds `key = value` lines"
        ) from error
    given = dict(parser[_SECTION])
    if unknown := sorted(set(given) - set(_KEYS)):
        near = difflib.get_close_matches(unknown[0], _KEYS, n=1)
        raise ConfigurationError(
            f"{file}: unknown key {unknown[0]!r}",
            hint=f"did you mean {near[0]!r}?" if near else "see docs/server.md for the keys",
        )
    values: dict[str, Any] = {}
    for key, (parse, default, kind) in _KEYS.items():
        text = given.get(key, default)
        if text is None:
            raise ConfigurationError(f"{file}: {key!r} is missing")
        if text == "" and default == "":
            values[key] = None
            continue
        try:
            value = parse(text)
        except ValueError as error:
            raise ConfigurationError(f"{file}: {key!r} must be {kind}") from error
        values[key] = directory / value if isinstance(value, Path) else value
    return ServerConfig(directory=directory, **values)
