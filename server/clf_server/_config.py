"""The server's configuration: ``clf_server.conf``, and the flags that stand above it."""

from __future__ import annotations

import configparser
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from clf_sdk.errors import ConfigurationError
from clf_sdk.protocol import AllowedEnclave, Mode
from clf_server._bucket import Bucket
from clf_server._config_keys import KEYS, KeyProvider
from clf_server._database import sqlite_url
from clf_server._private import check_private

if TYPE_CHECKING:
    from clf_server._kek_vault import VaultAddress

CONFIG_NAME = "clf_server.conf"
METADATA_NAME = "metadata.sqlite"
_SECTION = "clf_server"
_NO_FLAGS: Mapping[str, str] = {}
_HOW_TO_PIN = "give MREnclave, or MRSigner with isv_prod_id and isv_svn"


@dataclass(frozen=True)
class ServerConfig:
    """Settings of one server.

    Attributes
    ----------
    directory
        Where the server keeps everything.
    name
        What the server is called.
    pin
        The program that may have anything from this server, beside what policies say; None leaves
        tables to their policies, and releases no secret.
    secret, secret_file, secrets_dir
        Named secrets for pinned enclaves; ``secret`` is never shown.
    host, port
        Address of the control listener (HTTPS).
    public_host
        Name or address by which enclaves and people reach the server.
    blob_port
        Port of the plain-HTTP listener for ciphertext; None when it is switched off.
    metrics_port, metrics_host
        Listener for metrics; None when it is switched off.
    server_cert_path, server_private_key_path
        TLS certificate chain and key.
    insecure_simulation
        Anchor of a simulated TEE that is trusted *instead of* Intel's root, or None.
    pccs_url, collateral_file
        Where collateral comes from when the evidence brings none.
    database_url, object_store
        What replicas share; None where the server is one process with all in its directory.
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
    pin: AllowedEnclave | None
    secret: bytes | None = field(repr=False)
    secret_file: Path | None
    secrets_dir: Path | None
    host: str
    port: int
    public_host: str
    blob_port: int | None
    metrics_port: int | None
    metrics_host: str
    server_cert_path: Path
    server_private_key_path: Path
    insecure_simulation: Path | None
    pccs_url: str | None
    collateral_file: Path | None
    database_url: sa.URL | None
    object_store: Bucket | None
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
    def database(self) -> sa.URL:
        """Where the database is."""
        return self.database_url or sqlite_url(self.directory / METADATA_NAME)

    @property
    def mode(self) -> Mode:
        """Whether the server trusts real hardware or a simulated TEE."""
        return "dcap" if self.insecure_simulation is None else "simulation"


def _needed(key: str) -> ConfigurationError:
    return ConfigurationError(
        f"{CONFIG_NAME}: the key provider vault needs {key!r}", hint="see docs/server.md"
    )


def load_config(directory: Path, flags: Mapping[str, str] = _NO_FLAGS) -> ServerConfig:
    """Read ``clf_server.conf`` in a server's directory.

    Parameters
    ----------
    directory
        The server's.
    flags
        Texts of keys that stand above the file.

    Raises
    ------
    ConfigurationError
        It is missing, has an unknown or a doubled key, or a value that can't be used.
    """
    file = directory / CONFIG_NAME
    given = _read(file)
    _check_keys(given, file)
    if any(given.get(key.name) for key in KEYS if key.secret):
        check_private(file, what="the configuration, which holds a secret,")
    values: dict[str, Any] = {}
    for key in KEYS:
        text, where = given.get(key.name, key.default), str(file)
        if key.name in flags:
            text, where = flags[key.name], "the command line"
        if text is None:
            raise ConfigurationError(
                f"{file}: {key.name!r} is missing", hint=f"add a line {key.name}=…: {key.kind}"
            )
        if text == "" and key.default == "":
            values[key.name] = None
            continue
        try:
            value = key.parse(text)
        except ValueError as error:
            raise ConfigurationError(f"{where}: {key.name!r} must be {key.kind}") from error
        values[key.name] = directory / value if isinstance(value, Path) else value
    if values["secret"] is not None and values["secret_file"] is not None:
        raise ConfigurationError("set secret or secret_file, not both")
    if (values["database_url"] is None) is not (values["object_store"] is None):
        raise ConfigurationError(
            "set database_url and object_store, or neither",
            hint="replicas share both; one process alone keeps both in its directory",
        )
    return ServerConfig(directory=directory, pin=_pin(values, file), **values)


def _read(file: Path) -> dict[str, str]:
    """Return the keys and values of a file; Windows line ends and a BOM do no harm."""
    parser = configparser.ConfigParser(
        delimiters=("=",),
        comment_prefixes=("#",),
        interpolation=None,
        default_section="",
        empty_lines_in_values=False,
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # keys keep their case
    try:
        text = file.read_text("utf-8-sig")
        # Indented lines are lines like others, not the rest of the one before.
        lines = "\n".join(line.strip() for line in text.splitlines())
        parser.read_string(f"[{_SECTION}]\n{lines}", source=str(file))
    except OSError as error:
        raise ConfigurationError(
            f"{file} can't be read: {error.strerror}",
            hint="make a server directory with `clf server init DIR --name NAME`",
        ) from error
    except configparser.DuplicateOptionError as error:
        raise ConfigurationError(
            f"{file}: {error.option!r} is given twice", hint="keep the line that you mean"
        ) from error
    except (configparser.Error, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{file} is not a configuration file", hint="it holds `key=value` lines in UTF-8"
        ) from error
    if parser.sections() != [_SECTION]:
        raise ConfigurationError(f"{file} has sections", hint="it holds `key=value` lines only")
    return dict(parser[_SECTION])


def _check_keys(given: Mapping[str, str], file: Path) -> None:
    known = {key.name for key in KEYS}
    unknown = sorted(set(given) - known)
    if not unknown:
        return
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(unknown[0].lower(), by_lower, n=1)
    raise ConfigurationError(
        f"{file}: unknown key {unknown[0]!r}",
        hint=f"did you mean {by_lower[near[0]]!r}?" if near else "see docs/server.md for the keys",
    )


def _pin(values: dict[str, Any], file: Path) -> AllowedEnclave | None:
    """Take the four keys that pin a program out of the values."""
    mrenclave, mrsigner = values.pop("MREnclave"), values.pop("MRSigner")
    isv_prod_id, isv_svn = values.pop("isv_prod_id"), values.pop("isv_svn")
    if mrenclave is None and mrsigner is None:
        if isv_prod_id is None and isv_svn is None:
            return None
        raise ConfigurationError(
            f"{file}: isv_prod_id and isv_svn alone pin no enclave", hint=_HOW_TO_PIN
        )
    if mrenclave is None and None in (isv_prod_id, isv_svn):
        raise ConfigurationError(
            f"{file}: MRSigner alone trusts everything that its holder ever signed",
            hint=_HOW_TO_PIN,
        )
    return AllowedEnclave(
        mrenclave=mrenclave, mrsigner=mrsigner, isv_prod_id=isv_prod_id, min_isv_svn=isv_svn
    )
