"""``clf server certs``: a folder with an authority and the server's certificate."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from clf_sdk.errors import ConfigurationError
from clf_server._certificates import (
    SERVER_DAYS,
    KeyPair,
    hosts_of,
    issue_certificate,
    make_authority,
)
from clf_server._private import read_private
from clf_server._tls import load_chain

CA_NAME, CA_KEY_NAME = "ca.pem", "ca.key"
CERTIFICATE_NAME, KEY_NAME = "server.pem", "server.key"
MOST_DAYS = 825
"""Longer than this, widespread clients refuse a server's certificate."""


@dataclass(frozen=True)
class IssuedCertificate:
    """What ``clf server certs`` wrote."""

    folder: Path
    hosts: list[str]
    valid_until: datetime
    new_authority: bool


def _load_authority(folder: Path) -> KeyPair:
    certificate = load_chain(folder / CA_NAME)[0]
    path = folder / CA_KEY_NAME
    if not path.exists():
        raise ConfigurationError(
            f"the authority's key {path} is not here",
            hint="put it there from where you keep it, or make another authority with "
            "--new-authority; then every profile must be written anew",
        )
    pem = read_private(path, what="the authority's key")
    try:
        key = load_pem_private_key(pem, password=None)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{path} holds no PEM private key") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or (
        key.public_key() != certificate.public_key()
    ):
        raise ConfigurationError(f"{path} is not the key of {folder / CA_NAME}")
    return KeyPair(certificate, key)


def _replace(path: Path, data: bytes, *, mode: int) -> None:
    """Write a file all at once, durably, over the one that was there."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _kept_hosts(folder: Path) -> list[str]:
    path = folder / CERTIFICATE_NAME
    hosts = hosts_of(load_chain(path)[0]) if path.exists() else []
    if not hosts:
        raise ConfigurationError(
            "no host is named, and there is no certificate to renew",
            hint="name each host name and address of the server with --host",
        )
    return hosts


def make_certificates(
    folder: Path,
    *,
    name: str,
    hosts: Sequence[str] = (),
    days: int = SERVER_DAYS,
    new_authority: bool = False,
    now: datetime | None = None,
) -> IssuedCertificate:
    """Make a server's certificate, and an authority where there is none; private files are 0600.

    Parameters
    ----------
    folder
        Where ``ca.pem``, ``ca.key``, ``server.pem`` and ``server.key`` lie or will lie.
    name
        What certificates call the server.
    hosts
        Host names and addresses; those of the present certificate when none is given.
    days
        How long the server's certificate is valid, 1 to 825.
    new_authority
        Make another authority, although there is one.
    now
        Time of issue.

    Raises
    ------
    ConfigurationError
        The authority's key is not there or not its own, no host is known, or a file can't be
        written. What was there is untouched then.
    """
    now = now or datetime.now(UTC)
    if not 1 <= days <= MOST_DAYS:
        raise ConfigurationError(f"a server's certificate is valid for 1 to {MOST_DAYS} days")
    chosen = list(hosts) or _kept_hosts(folder)
    makes = new_authority or not (folder / CA_NAME).exists()
    authority = make_authority(name, now=now) if makes else _load_authority(folder)
    issued = issue_certificate(authority, name, chosen, now=now, days=days)
    if issued.certificate.not_valid_after_utc > authority.certificate.not_valid_after_utc:
        raise ConfigurationError(
            "the authority ends before the certificate would",
            hint="make a new one with --new-authority, and write profiles anew",
        )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if makes:
            _replace(folder / CA_KEY_NAME, authority.key_pem, mode=0o600)
            _replace(folder / CA_NAME, authority.certificate_pem, mode=0o644)
        _replace(folder / KEY_NAME, issued.key_pem, mode=0o600)
        _replace(folder / CERTIFICATE_NAME, issued.certificate_pem, mode=0o644)
    except OSError as error:
        raise ConfigurationError(
            f"the certificates can't be written to {folder}: {error.strerror}"
        ) from error
    return IssuedCertificate(
        folder=folder,
        hosts=hosts_of(issued.certificate),
        valid_until=issued.certificate.not_valid_after_utc,
        new_authority=makes,
    )


def certificate_name(folder: Path) -> str:
    """Return what the present certificate of a folder calls the server; a default without one."""
    path = folder / CERTIFICATE_NAME
    if path.exists():
        found = load_chain(path)[0].subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        if found:
            return str(found[0].value)
    return "clf-server"
