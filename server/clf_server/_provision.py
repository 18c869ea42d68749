"""A new server's directory: configuration, identity, keys, certificates, a profile."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clf_sdk.attestation import TrustAnchor
from clf_sdk.errors import ConfigurationError
from clf_sdk.keys import SigningKey, server_id
from clf_sdk.protocol import check_name, write_private
from clf_server._certificate_files import make_certificates
from clf_server._config import CONFIG_NAME, METADATA_NAME, load_config
from clf_server._config_keys import render_config
from clf_server._identities import FIRST_FILE as IDENTITY_FILE
from clf_server._keks import Keks
from clf_server._metadata import Metadata
from clf_server._migrate import migrate
from clf_server._profiles import make_profile
from clf_server._state import open_objects
from clf_server._tokens import Tokens

_PROFILE_DAYS = 365
_ANCHOR_NAME = "insecure_simulation.pem"


@dataclass(frozen=True)
class NewServer:
    """What ``clf server init`` made."""

    directory: Path
    server: str
    owner_profile: Path


def create_server(
    directory: Path,
    *,
    name: str,
    host: str = "127.0.0.1",
    port: int = 4433,
    public_hosts: Sequence[str] = ("localhost",),
    blob_port: int | None = 4480,
    insecure_simulation: Path | None = None,
    settings: Mapping[str, str] | None = None,
) -> NewServer:
    """Make a server's directory, all at once or not at all.

    Parameters
    ----------
    directory
        Must not exist, or be empty.
    name
        What the server is called.
    host, port
        Address of the control listener.
    public_hosts
        Names and addresses for the certificate; the first one stands in profiles.
    blob_port
        Port of the plain-HTTP listener for ciphertext, or None for none.
    insecure_simulation
        Anchor of a simulated TEE to trust instead of Intel's root.
    settings
        Further keys of the configuration file, with their values.

    Raises
    ------
    ConfigurationError
        The directory or the database is in use, the anchor can't be read, or a setting can't be
        used.
    """
    check_name(name, what="a server")
    if directory.exists() and any(directory.iterdir()):
        raise ConfigurationError(
            f"{directory} is not empty", hint="name a new directory; nothing was changed"
        )
    if insecure_simulation is not None:
        TrustAnchor.insecure_simulation(insecure_simulation)
    # A directory that is there may be a mount point, over which nothing can be renamed.
    in_place = directory.exists()
    if in_place:
        part = directory
        try:
            part.chmod(0o700)
        except OSError as error:
            raise ConfigurationError(
                f"{directory} can't be made private: {error.strerror}",
                hint="it must belong to the user that runs the server",
            ) from error
    else:
        directory.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        made = _fill(
            part,
            name=name,
            host=host,
            port=port,
            public_hosts=public_hosts,
            blob_port=blob_port,
            anchor=insecure_simulation,
            settings=settings or {},
        )
        if not in_place:
            part.rename(directory)
    except BaseException:
        for made_already in part.iterdir() if in_place else (part,):
            if made_already.is_dir():
                shutil.rmtree(made_already, ignore_errors=True)
            else:
                made_already.unlink(missing_ok=True)
        raise
    return NewServer(
        directory=directory,
        server=made,
        owner_profile=directory / "owner.profile.json",
    )


def _fill(
    part: Path,
    *,
    name: str,
    host: str,
    port: int,
    public_hosts: Sequence[str],
    blob_port: int | None,
    anchor: Path | None,
    settings: Mapping[str, str],
) -> str:
    values = {
        "name": name,
        "host": host,
        "port": str(port),
        "public_host": public_hosts[0],
        "blob_port": "off" if blob_port is None else str(blob_port),
    }
    if anchor is not None:
        shutil.copyfile(anchor, part / _ANCHOR_NAME)
        values["insecure_simulation"] = _ANCHOR_NAME
    write_private(part / CONFIG_NAME, render_config(values | dict(settings)).encode())

    identity = SigningKey.generate()
    write_private(part / IDENTITY_FILE, identity.private_bytes())

    make_certificates(part / "tls", name=name, hosts=[*public_hosts, host])

    now = int(time.time())
    config = load_config(part)
    migrate(config.database)
    if config.object_store is None:
        (part / METADATA_NAME).chmod(0o600)
    else:
        open_objects(config).ping()
    metadata = Metadata(config.database)
    try:
        keks, tokens = Keks(metadata, part), Tokens(metadata)
        with metadata.transaction() as connection:
            if tokens.any(connection):
                raise ConfigurationError(
                    "the database holds a server already",
                    hint="for a replica of it copy its directory; otherwise name an empty database",
                )
            kek = keks.make(connection, config, now=now)
            keks.promote(connection, kek, keks.prepare(kek, config))
            secret, token = tokens.issue(
                connection,
                identity,
                role="owner",
                label="owner",
                analyst=None,
                created_at=now,
                expires_at=now + _PROFILE_DAYS * 86400,
            )
            profile = make_profile(config, identity, token, secret=secret)
            profile.save(part / "owner.profile.json")
    finally:
        metadata.close()
    return server_id(identity.public_bytes)
