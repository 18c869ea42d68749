"""The keys of ``clf_server.conf``: what each means, what it must be, what it is by default."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

import sqlalchemy as sa

from clf_sdk.protocol import check_name
from clf_server._bucket import Bucket

KeyProvider = Literal["file", "gramine", "vault"]
_MAX_PORT = 65535
_MAX_U16 = 0xFFFF
_MOST_RESUME_SECONDS = 86400
_MEASUREMENT_DIGITS = 64


@dataclass(frozen=True)
class Key:
    """One key.

    Attributes
    ----------
    name
        As it stands in the file.
    parse
        Makes a value of its text, or raises ValueError.
    default
        Text of its default; None when it must be given, empty when it is not set by default.
    kind
        What a value must be, for messages.
    about
        What it means, for the shipped file.
    secret
        Whether the value must not be read by others.
    """

    name: str
    parse: Callable[[str], Any]
    default: str | None
    kind: str
    about: str
    secret: bool = False


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


def _port_or_off(text: str) -> int | None:
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


def _measurement(text: str) -> str:
    if len(text) != _MEASUREMENT_DIGITS or set(text) - set(string.hexdigits):
        raise ValueError
    if not text.strip("0"):
        raise ValueError
    return text.lower()


def _u16(text: str) -> int:
    number = int(text)
    if not 0 <= number <= _MAX_U16:
        raise ValueError
    return number


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError
    return text


def _database_url(text: str) -> sa.URL:
    try:
        url = sa.make_url(text)
    except sa.exc.ArgumentError as error:
        raise ValueError from error
    if url.drivername not in ("postgresql", "postgres") or url.password is not None:
        raise ValueError  # passwords belong into libpq's own file
    return url.set(drivername="postgresql+psycopg")


_A_MEASUREMENT = f"{_MEASUREMENT_DIGITS} hex digits, not all of them zeros"
_A_U16 = f"a number from 0 to {_MAX_U16}"

KEYS: tuple[Key, ...] = (
    Key(
        "name",
        lambda text: check_name(text, what="a server"),
        None,
        "a name",
        "What the server is called: lower-case letters, digits, '_', '-' and '.'.",
    ),
    Key(
        "MREnclave",
        _measurement,
        "",
        _A_MEASUREMENT,
        "The program that may have anything from this server: its exact measurement, as\n"
        "`clf enclave measure` prints it. What is pinned here holds beside the policy of each\n"
        "table, and is the only pin for `secret`. Not set: tables follow their policies alone,\n"
        "and no secret is released. Zeros are refused: nothing here ever means 'any enclave'.",
    ),
    Key(
        "MRSigner",
        _measurement,
        "",
        _A_MEASUREMENT,
        "Or the key that signed the program; then isv_prod_id and isv_svn must be given too.",
    ),
    Key("isv_prod_id", _u16, "", _A_U16, "The signer's product, equal."),
    Key("isv_svn", _u16, "", _A_U16, "The oldest security version that is trusted: a minimum."),
    Key(
        "secret",
        lambda text: text.encode(),
        "",
        "a text",
        "A secret that pinned enclaves may ask for, under the name 'secret'; never logged. This\n"
        "file must then be readable by its owner only.",
        secret=True,
    ),
    Key(
        "secret_file",
        Path,
        "",
        "a path",
        "The same, to the byte, from a file that others can not read.",
    ),
    Key(
        "secrets_dir",
        Path,
        "",
        "a path",
        "A folder with more secrets: each file is one, named as the file.",
    ),
    Key(
        "host",
        str,
        "127.0.0.1",
        "an address",
        "Address of this machine to listen on; 0.0.0.0 is all.",
    ),
    Key("port", _port, "4433", "a port", "Port of the control listener (HTTPS)."),
    Key(
        "public_host",
        str,
        "localhost",
        "a host name or address",
        "Name or address by which enclaves and people reach the server; profiles carry it.",
    ),
    Key(
        "blob_port",
        _port_or_off,
        "4480",
        "a port, or off",
        "Port of the listener for ciphertext (plain HTTP, tickets); `off` serves it over HTTPS on\n"
        "the control listener, which is slower.",
    ),
    Key(
        "metrics_port",
        _port_or_off,
        "off",
        "a port, or off",
        "Port of the listener for metrics (plain HTTP, no token, /metrics), and its address.",
    ),
    Key("metrics_host", str, "127.0.0.1", "an address", ""),
    Key(
        "server_cert_path",
        Path,
        "tls/server.pem",
        "a path",
        "TLS certificate chain and its private key, which others must not be able to read;\n"
        "`clf server certs` makes both.",
    ),
    Key("server_private_key_path", Path, "tls/server.key", "a path", ""),
    Key(
        "pccs_url",
        _url,
        "",
        "an http or https URL",
        "Where collateral comes from when an enclave attaches none: a PCCS such as\n"
        "https://localhost:8081/sgx/certification/v4/, cached until it expires; or a file.",
    ),
    Key("collateral_file", Path, "", "a path", ""),
    Key(
        "database_url",
        _database_url,
        "",
        "a URL postgresql://user@host:port/database",
        "Several processes, each with a directory of its own but the same identity and keys, can\n"
        "be one server for their owner: with one PostgreSQL database and one bucket of an\n"
        "S3-compatible store, both or neither. Passwords and credentials come from libpq's and\n"
        "AWS's own files or environment variables. Example of a bucket:\n"
        "s3://bucket/prefix?endpoint=https://store.example:9000&region=eu-central-1",
    ),
    Key(
        "object_store",
        Bucket.parse,
        "",
        "a URL s3://bucket/prefix, with ?endpoint=https://host:port&region=name if need be",
        "",
    ),
    Key(
        "resume_seconds",
        _seconds,
        "900",
        f"a number of seconds from 0 to {_MOST_RESUME_SECONDS}",
        "How long after its first session a run may go on in another enclave; 0 is never.",
    ),
    Key(
        "max_upload_bytes",
        _positive,
        str(1 << 40),
        "a number of bytes",
        "Size limit of one upload, in bytes.",
    ),
    Key(
        "evidence",
        _one_of("none", "gramine"),
        "none",
        "none or gramine",
        "`gramine`: the server runs in an enclave, and proves itself to whoever asks.",
    ),
    Key(
        "key_provider",
        _one_of(*get_args(KeyProvider)),
        "file",
        "file, gramine or vault",
        "Who keeps the key-encryption key: `file` (32 bytes in key_directory), `gramine` (derived\n"
        "from an SGX sealing key) or `vault` (the transit engine of a Vault). After a change run\n"
        "`clf server rotate-key`.",
    ),
    Key("key_directory", Path, ".", "a path", ""),
    Key("attestation_path", Path, "/dev/attestation", "a path", "Gramine's pseudo-files."),
    Key(
        "sealing_key",
        _one_of("mrsigner", "mrenclave"),
        "mrsigner",
        "mrsigner or mrenclave",
        "Which sealing key the provider `gramine` uses.",
    ),
    Key(
        "vault_url",
        str,
        "",
        "a URL",
        "For the provider `vault`: its address, transit engine and key; a file with the token,\n"
        "and one with its certificate authority.",
    ),
    Key("vault_mount", str, "transit", "a path in the Vault", ""),
    Key("vault_key", str, "", "the name of a transit key", ""),
    Key("vault_token_file", Path, "", "a path", ""),
    Key("vault_ca_file", Path, "", "a path", ""),
    Key(
        "insecure_simulation",
        Path,
        "",
        "a path",
        "INSECURE: the anchor of a simulated TEE that is trusted instead of Intel's root. Its\n"
        "quotes prove nothing; never set this beside real data.",
    ),
    Key(
        "insecure_simulated_evidence",
        Path,
        "",
        "a path",
        "INSECURE: the directory of a simulated TEE that makes the server's own evidence.",
    ),
)


def render_config(values: Mapping[str, str]) -> str:
    """Write a documented configuration file: what is given is set, the rest is commented out.

    Keys that do not exist stand at the end, where reading the file finds them.
    """
    lines = [
        "# Configuration of a CLF server: `key=value` lines, `#` comments. Paths are relative to",
        "# the directory of this file. Flags of `clf server run` stand above it; an unknown key is",
        "# an error. Commented keys show their defaults.",
    ]
    for key in KEYS:
        if key.about:
            lines.append("")
            lines += [f"# {line}" for line in key.about.splitlines()]
        if key.name in values:
            lines.append(f"{key.name}={values[key.name]}")
        else:
            lines.append(f"#{key.name}={key.default or ''}")
    known = {key.name for key in KEYS}
    lines += [f"{name}={value}" for name, value in values.items() if name not in known]
    return "\n".join(lines) + "\n"
