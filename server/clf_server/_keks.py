"""The key-encryption keys of a server: one wraps, those before it still open.

Which there are, and which one wraps, stands in the database, so that a rotation and a server that
runs meanwhile see the same. The database holds no key: file names, salts and names of transit keys.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa

from clf_sdk.errors import ConfigurationError, FormatTooNew, NotReady, SealBroken
from clf_sdk.protocol import canonical_json
from clf_server._config import ServerConfig, load_config
from clf_server._config_keys import KeyProvider
from clf_server._database import SCHEMA
from clf_server._kek import Kek
from clf_server._kek_file import create_file_kek, load_file_kek
from clf_server._kek_gramine import derive_gramine_kek
from clf_server._metadata import Metadata

FIRST_FILE = "kek.key"
_MARKER = "clf1"
_PROBE = b"\x00" * 32

State = Literal["made", "current", "old", "retired"]
"""``made``: not used yet. ``old``: opens, and wraps nothing more. ``retired``: wraps nothing any
more, and is being destroyed."""

_keks = sa.Table(
    "key_encryption_keys",
    SCHEMA,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("provider", sa.String(16), nullable=False),
    sa.Column("settings", sa.JSON, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("probe", sa.Text),  # a known text under this key: a wrong key shows at once
    sa.Column("created_at", sa.BigInteger, nullable=False),
)


@dataclass(frozen=True)
class StoredKek:
    """A key-encryption key as the database knows it.

    Attributes
    ----------
    id
        Stands in each key that it wraps.
    provider, settings
        Where it is kept; no secret.
    state
        What it is used for.
    probe
        A known text that it sealed; None before it was used.
    created_at
        When, in Unix seconds.
    """

    id: str
    provider: KeyProvider
    settings: dict[str, str]
    state: State
    probe: str | None
    created_at: int

    def path(self, config: ServerConfig) -> Path:
        """File that holds it, when its provider is ``file``."""
        return config.key_directory / self.settings["file"]


class KekRetired(Exception):
    """A key was wrapped under a key-encryption key that a rotation has just retired."""


def _context(context: dict[str, Any]) -> bytes:
    return canonical_json(context)


def _probe_context(kek_id: str) -> bytes:
    return canonical_json({"clf": 1, "type": "kek-probe", "kek": kek_id})


def kek_of(wrapped: str) -> str:
    """Return the id of the key-encryption key that wrapped a key.

    Raises
    ------
    FormatTooNew
        A later version wrapped it.
    """
    marker, _, rest = wrapped.partition("-")
    parts = rest.split(":", 2)
    if marker != _MARKER or len(parts) != 3:  # noqa: PLR2004 - suite, id, sealed
        raise FormatTooNew("a stored key was wrapped by a later version", hint="upgrade CLF")
    return parts[1]


class Keks:
    """Wraps and unwraps table keys.

    Parameters
    ----------
    metadata
        The database.
    directory
        The server's. Its configuration says how to reach providers, and is read again when a
        rotation has brought a new key.
    """

    def __init__(self, metadata: Metadata, directory: Path) -> None:
        self.metadata = metadata
        self._directory = directory
        self._opened: dict[str, Kek] = {}
        self._lock = threading.Lock()

    # -- what there is -------------------------------------------------------------------------

    def all(self, connection: sa.Connection) -> list[StoredKek]:
        """Return all key-encryption keys, the oldest first."""
        query = sa.select(_keks).order_by(_keks.c.created_at, _keks.c.id)
        return [StoredKek(*row) for row in connection.execute(query)]

    def current(self, connection: sa.Connection) -> StoredKek:
        """Return the one that wraps.

        Raises
        ------
        ConfigurationError
            There is none: the database is not a server's.
        """
        row = connection.execute(sa.select(_keks).where(_keks.c.state == "current")).first()
        if row is None:
            raise ConfigurationError(
                "the database names no key-encryption key",
                hint="restore metadata.sqlite from backup",
            )
        return StoredKek(*row)

    def _find(self, kek_id: str) -> StoredKek | None:
        with self.metadata.reading() as connection:
            row = connection.execute(sa.select(_keks).where(_keks.c.id == kek_id)).first()
        return None if row is None else StoredKek(*row)

    # -- new ones ------------------------------------------------------------------------------

    def make(self, connection: sa.Connection, config: ServerConfig, *, now: int) -> StoredKek:
        """Note a new key that is to be made as the configuration says; it is not used yet."""
        kek_id = secrets.token_hex(8)
        first = not self.all(connection)
        settings = dict(config.key_settings)
        if config.key_provider == "file":
            settings["file"] = FIRST_FILE if first else f"kek-{kek_id}.key"
        elif config.key_provider == "gramine":
            settings["salt"] = secrets.token_hex(32)
        kek = StoredKek(kek_id, config.key_provider, settings, "made", None, now)
        connection.execute(sa.insert(_keks).values(**vars(kek)))
        return kek

    def prepare(self, made: StoredKek, config: ServerConfig) -> str:
        """Bring a new key into being, try it, and return its probe.

        Raises
        ------
        ConfigurationError, KeysUnavailable
            Its provider can't be used as configured.
        """
        if made.provider == "file":
            kek: Kek = create_file_kek(made.path(config))
        else:
            kek = _open(made, config)
        probe = kek.seal(_PROBE, _probe_context(made.id))
        _check_probe(kek, made, probe)
        try:
            kek.open(probe, b"another context")
        except SealBroken:
            pass
        else:
            raise ConfigurationError(
                "the key provider opens what was sealed for something else",
                hint="a Vault must honour `associated_data`: use version 1.13 or later, or OpenBao",
            )
        with self._lock:
            self._opened[made.id] = kek
        return probe

    def promote(self, connection: sa.Connection, made: StoredKek, probe: str) -> None:
        """Let a new key wrap from now on, and the one before only open."""
        connection.execute(sa.update(_keks).where(_keks.c.state == "current").values(state="old"))
        connection.execute(
            sa.update(_keks).where(_keks.c.id == made.id).values(state="current", probe=probe)
        )

    # -- old ones ------------------------------------------------------------------------------

    def retire(self, connection: sa.Connection) -> list[StoredKek]:
        """Note that the old keys, which wrap nothing any more, are to be destroyed."""
        connection.execute(sa.update(_keks).where(_keks.c.state == "old").values(state="retired"))
        return [kek for kek in self.all(connection) if kek.state == "retired"]

    def forget(self, connection: sa.Connection, kek: StoredKek) -> None:
        """Forget a key that was destroyed, or that was never used."""
        connection.execute(
            sa.delete(_keks).where(_keks.c.id == kek.id, _keks.c.state.in_(["made", "retired"]))
        )
        with self._lock:
            self._opened.pop(kek.id, None)

    # -- use -----------------------------------------------------------------------------------

    def check(self) -> None:
        """Check that the key-encryption keys are those that wrapped what is stored.

        Raises
        ------
        ConfigurationError
            A key is missing or another one, or the configuration names another provider.
        KeysUnavailable
            A provider can't be reached.
        """
        config = load_config(self._directory)
        with self.metadata.reading() as connection:
            keks, current = self.all(connection), self.current(connection)
        if not is_configured(current, config):
            raise ConfigurationError(
                "clf_server.conf names another key provider, or key, than the one in use "
                f"({current.provider})",
                hint=f"run `clf server rotate-key {self._directory}`, or undo the edit",
            )
        self.try_out(keks)

    def ping(self) -> None:
        """Check that keys can be wrapped and opened now.

        Raises
        ------
        ConfigurationError, KeysUnavailable
            They can't.
        """
        with self.metadata.reading() as connection:
            current = self.current(connection)
        self.try_out([current])

    def try_out(self, keks: Iterable[StoredKek]) -> None:
        """Check that keys that are in use are those that wrapped what is stored.

        Raises
        ------
        ConfigurationError
            A key is missing, or another one.
        KeysUnavailable
            A provider can't be reached.
        """
        for kek in keks:
            if kek.state in ("current", "old") and kek.probe is not None:
                _check_probe(self._kek(kek), kek, kek.probe)

    def _kek(self, stored: StoredKek) -> Kek:
        with self._lock:
            found = self._opened.get(stored.id)
        if found is None:
            found = _open(stored, load_config(self._directory))
            with self._lock:
                self._opened[stored.id] = found
        return found

    def wrap(self, key: bytes, context: dict[str, Any]) -> str:
        """Wrap a key under the current key-encryption key, bound to a context document."""
        with self.metadata.reading() as connection:
            current = self.current(connection)
        kek = self._kek(current)
        return f"{_MARKER}-{kek.suite}:{current.id}:{kek.seal(key, _context(context))}"

    def unwrap(self, wrapped: str, context: dict[str, Any]) -> bytes:
        """Open a wrapped key.

        Raises
        ------
        FormatTooNew
            It was wrapped by a later version.
        SealBroken
            It was wrapped under another key or for another context, or changed.
        NotReady
            A rotation has just replaced it; read it again.
        KeysUnavailable
            The key's provider can't be reached.
        """
        kek_id = kek_of(wrapped)
        with self._lock:
            kek = self._opened.get(kek_id)
        if kek is None:
            stored = self._find(kek_id)
            if stored is None:
                raise NotReady("the table's key was wrapped anew just now", hint="ask again")
            kek = self._kek(stored)
        suite, _, sealed = wrapped.partition("-")[2].split(":", 2)
        if suite != kek.suite:
            raise FormatTooNew("a stored key was wrapped by a later version", hint="upgrade CLF")
        return kek.open(sealed, _context(context))

    def check_alive(self, connection: sa.Connection, wrapped: str) -> None:
        """Check, in the transaction that stores a wrapped key, that it can still be opened.

        Raises
        ------
        KekRetired
            A rotation ended meanwhile; wrap the key again.
        """
        query = sa.select(_keks.c.state).where(_keks.c.id == kek_of(wrapped))
        if connection.execute(query).scalar() not in ("current", "old"):
            raise KekRetired


def _open(stored: StoredKek, config: ServerConfig) -> Kek:
    if stored.provider == "file":
        return load_file_kek(stored.path(config))
    if stored.provider == "gramine":
        return derive_gramine_kek(
            config.attestation_path,
            stored.settings["sealing_key"],
            salt=bytes.fromhex(stored.settings["salt"]),
        )
    from clf_server._kek_vault import VaultKek  # noqa: PLC0415 - few servers use a Vault

    return VaultKek(
        config.vault_address, mount=stored.settings["mount"], key=stored.settings["key"]
    )


def _check_probe(kek: Kek, stored: StoredKek, probe: str) -> None:
    try:
        opened = kek.open(probe, _probe_context(stored.id))
    except SealBroken as error:
        opened = None
        cause: Exception | None = error
    else:
        cause = None
    if opened != _PROBE:
        raise ConfigurationError(
            f"the key-encryption key that the {stored.provider} provider gives is not the one "
            "that wrapped the keys of this server's tables",
            hint="restore it from backup; without it the tables can't be opened",
        ) from cause


def is_configured(current: StoredKek, config: ServerConfig) -> bool:
    """Tell whether a key-encryption key is kept where the configuration says."""
    wanted = config.key_settings
    found = {name: current.settings.get(name) for name in wanted}
    return (current.provider, found) == (config.key_provider, wanted)
