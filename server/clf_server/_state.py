"""Everything a running server holds, loaded from its directory."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version as software_version
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from clf_sdk.attestation import CollateralSource, FileCollateral, PccsCollateral, TrustAnchor
from clf_sdk.errors import ConfigurationError
from clf_sdk.keys import HYBRID, PrivateKey, SigningKey, server_id
from clf_server._analysts import Analysts
from clf_server._attempts import Attempts
from clf_server._audit import AuditLog
from clf_server._config import ServerConfig, load_config
from clf_server._directory import check_directory
from clf_server._evidence import ServerProof, evidence_provider
from clf_server._grants import Grants
from clf_server._identities import Identities
from clf_server._job_store import JobStore
from clf_server._keks import Keks
from clf_server._metadata import Metadata
from clf_server._metrics import Metrics
from clf_server._nonces import Nonces, NonceStore, SharedNonces
from clf_server._objects import ObjectStore
from clf_server._pause import Pause
from clf_server._refusals import Refusals
from clf_server._renewal import ShownCertificate, switch_if_due
from clf_server._secrets import Secrets
from clf_server._tickets import SharedTickets, Tickets, TicketStore
from clf_server._tls import check_tls
from clf_server._tokens import Tokens

OBJECTS_NAME = "objects"
_RELEASE_SEED_BYTES = 96  # an ML-KEM-768 seed and an X25519 key


@dataclass(frozen=True)
class ServerState:
    """Configuration, keys, stores and clocks of one server process."""

    config: ServerConfig
    identities: Identities
    keks: Keks
    metadata: Metadata
    objects: ObjectStore
    audit: AuditLog
    refusals: Refusals
    tokens: Tokens
    analysts: Analysts
    attempts: Attempts
    jobs: JobStore
    pause: Pause
    grants: Grants
    nonces: Nonces
    tickets: Tickets
    release_key: PrivateKey
    secrets: Secrets
    metrics: Metrics
    anchor: TrustAnchor
    collateral: CollateralSource | None
    proof: ServerProof
    certificate: ShownCertificate
    clock: Callable[[], float]
    monotonic: Callable[[], float]
    stopping: threading.Event
    """Set when the process ends, for work that goes on in the background."""

    @property
    def identity(self) -> SigningKey:
        """The present identity key."""
        return self.identities.current()

    @property
    def server_id(self) -> str:
        """Hash of the present identity key."""
        return server_id(self.identity.public_bytes)

    @property
    def blob_url(self) -> str | None:
        """Address of the listener for ciphertext; None when it is switched off."""
        if self.config.blob_port is None:
            return None
        return f"http://{self.config.public_host}:{self.config.blob_port}"

    def now(self) -> int:
        """Return the wall-clock time in Unix seconds."""
        return int(self.clock())


def _lock(directory: Path) -> None:
    """Keep a second process away; the lock lives as long as this one."""
    descriptor = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise ConfigurationError(
            f"another server process runs on {directory}", hint="stop it first"
        ) from error


def _anchor(config: ServerConfig) -> TrustAnchor:
    if config.insecure_simulation is None:
        return TrustAnchor.intel()
    return TrustAnchor.insecure_simulation(config.insecure_simulation)


def _collateral(config: ServerConfig) -> CollateralSource | None:
    if config.pccs_url is not None and config.collateral_file is not None:
        raise ConfigurationError("set pccs_url or collateral_file, not both")
    if config.pccs_url is not None:
        return PccsCollateral(config.pccs_url, cache_dir=config.directory / "collateral")
    if config.collateral_file is not None:
        return FileCollateral(config.collateral_file)
    return None


def open_objects(config: ServerConfig) -> ObjectStore:
    """Open the store of a server's ciphertext."""
    if config.object_store is None:
        return ObjectStore.local(config.directory / OBJECTS_NAME)
    return ObjectStore(config.object_store.open(), root=None)


def _release_key(identity: SigningKey, *, shared: bool) -> PrivateKey:
    """Return the key to which enclaves seal shares for this server.

    As tickets do, it ends with the process; but replicas must be able to open what was sealed for
    another one, so they derive the same key from what they have in common.
    """
    if not shared:
        return PrivateKey.generate()
    hkdf = HKDF(hashes.SHA256(), length=_RELEASE_SEED_BYTES, salt=None, info=b"clf/1 release key")
    return PrivateKey(HYBRID, hkdf.derive(identity.private_bytes()))


def load_state(
    directory: Path,
    *,
    flags: Mapping[str, str] | None = None,
    clock: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
) -> ServerState:
    """Load a server's directory, take its lock, and sweep what a dead process left.

    Parameters
    ----------
    directory
        Made by ``clf server init``.
    flags
        Texts of configuration keys that stand above the file.
    clock, monotonic
        Wall clock for certificates and tokens, monotonic clock for nonces and tickets.

    Raises
    ------
    ConfigurationError
        A file is missing, or a setting can't be used.
    """
    check_directory(directory)
    config = load_config(directory, flags or {})
    secrets = Secrets(config)
    _lock(directory)
    switched = switch_if_due(directory, now=int(clock()))
    check_tls(config.server_cert_path, config.server_private_key_path, now=clock())
    certificate = ShownCertificate(config.server_cert_path, config.server_private_key_path)
    anchor = _anchor(config)
    metadata = Metadata(config.database)
    with contextlib.ExitStack() as when_it_fails:
        when_it_fails.callback(metadata.close)
        state = _assemble(
            config,
            metadata,
            secrets,
            certificate,
            anchor,
            switched=switched,
            clock=clock,
            monotonic=monotonic,
        )
        when_it_fails.pop_all()
    return state


def _assemble(
    config: ServerConfig,
    metadata: Metadata,
    secrets: Secrets,
    certificate: ShownCertificate,
    anchor: TrustAnchor,
    *,
    switched: bool,
    clock: Callable[[], float],
    monotonic: Callable[[], float],
) -> ServerState:
    """Check what the database holds, and put the parts of a server together."""
    identities = Identities(metadata, config.directory)
    identity = identities.current()

    def now() -> int:
        return int(clock())

    collateral = _collateral(config)
    keks = Keks(metadata, config.directory)
    keks.check()
    audit = AuditLog(metadata, identities.present, mode=anchor.mode, now=now)
    if switched:
        audit.append("certificate.shown", {"certificate": certificate.digest})
    analysts, jobs, pause = Analysts(metadata), JobStore(), Pause()
    software = f"clf-sdk/{software_version('clf-sdk')}"
    metrics = Metrics(software=software, mode=anchor.mode)
    metrics.watch(metadata, audit)
    objects = open_objects(config)
    objects.sweep(metadata.visible_versions)
    return ServerState(
        config=config,
        identities=identities,
        keks=keks,
        metadata=metadata,
        objects=objects,
        audit=audit,
        refusals=Refusals(audit, now=now, monotonic=monotonic),
        tokens=Tokens(metadata),
        analysts=analysts,
        attempts=Attempts(monotonic),
        jobs=jobs,
        pause=pause,
        grants=Grants(
            metadata,
            jobs,
            audit,
            now=now,
            monotonic=monotonic,
            resume_seconds=config.resume_seconds,
        ),
        nonces=SharedNonces(metadata, clock) if metadata.shared else NonceStore(monotonic),
        tickets=SharedTickets(metadata, clock) if metadata.shared else TicketStore(monotonic),
        release_key=_release_key(identity, shared=metadata.shared),
        secrets=secrets,
        metrics=metrics,
        anchor=anchor,
        collateral=collateral,
        proof=ServerProof(evidence_provider(config), collateral),
        certificate=certificate,
        clock=clock,
        monotonic=monotonic,
        stopping=threading.Event(),
    )
