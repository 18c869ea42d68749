"""Rotation of the key-encryption key: online, interruptible, and without touching ciphertext.

1. A new key comes into being, at the provider that the configuration names.
2. In one transaction it becomes the one that wraps; the one before only opens from now on.
3. Every table key is wrapped anew, some at a time; each is replaced only if it is still the same.
4. In one transaction, when no table key needs them any more, the old keys are retired.
5. The old keys are destroyed.

A process that dies anywhere leaves every table key under a key that the database names, and running
the command again goes on from there. A server that runs meanwhile looks up which key wraps whenever
it wraps, and stores nothing under a retired one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from clf_server._audit import AuditLog
from clf_server._config import ServerConfig, load_config
from clf_server._exclusive import alone
from clf_server._identities import Identities
from clf_server._kek_file import destroy_file
from clf_server._keks import Keks, StoredKek, is_configured, kek_of
from clf_server._metadata import Metadata, Version
from clf_server._state import open_objects
from clf_server._vault import Vault

_AT_ONCE = 64


@dataclass(frozen=True)
class KeyRotation:
    """What a rotation did.

    Attributes
    ----------
    key, provider
        The key-encryption key that wraps now.
    rewrapped
        How many table keys this call wrapped anew.
    destroyed
        Ids of the key-encryption keys that are gone.
    """

    key: str
    provider: str
    rewrapped: int
    destroyed: tuple[str, ...]


def rotate_key(directory: Path, *, clock: Callable[[], float] = time.time) -> KeyRotation:
    """Wrap all table keys of a server under a fresh key-encryption key.

    Parameters
    ----------
    directory
        The server's, whether or not it runs.
    clock
        Wall clock, in Unix seconds.

    Raises
    ------
    ConfigurationError
        A key is missing or wrong, another rotation runs, or the provider can't be used as
        configured. What was wrapped before stays readable.
    KeysUnavailable
        A provider can't be reached.
    """
    config = load_config(directory)
    with alone(directory):
        metadata = Metadata(config.database)
        try:
            return _Rotation(config, metadata, clock).run()
        finally:
            metadata.close()


class _Rotation:
    def __init__(
        self, config: ServerConfig, metadata: Metadata, clock: Callable[[], float]
    ) -> None:
        self._config = config
        self._metadata = metadata
        self._clock = clock
        identities = Identities(metadata, config.directory)
        self._audit = AuditLog(metadata, identities.present, mode=config.mode, now=self._now)
        self._keks = Keks(metadata, config.directory)
        self._vault = Vault(self._keks, open_objects(config))

    def _now(self) -> int:
        return int(self._clock())

    def run(self) -> KeyRotation:
        keks = self._all()
        self._keks.try_out(keks)
        unfinished = any(kek.state == "old" for kek in keks)
        destroyed = self._destroy(kek for kek in keks if kek.state in ("made", "retired"))
        if not (unfinished and is_configured(_current(keks), self._config)):
            self._begin()
        rewrapped = self._rewrap_all()
        destroyed += self._destroy(kek for kek in self._all() if kek.state == "retired")
        current = _current(self._all())
        return KeyRotation(current.id, current.provider, rewrapped, tuple(destroyed))

    def _all(self) -> list[StoredKek]:
        with self._metadata.reading() as connection:
            return self._keks.all(connection)

    def _begin(self) -> None:
        # 1. A new key, noted before it exists, so that none is ever forgotten.
        with self._metadata.transaction() as connection:
            made = self._keks.make(connection, self._config, now=self._now())
        probe = self._keks.prepare(made, self._config)

        # 2. From now on it wraps.
        with self._metadata.transaction() as connection:
            before = self._keks.current(connection)
            self._keks.promote(connection, made, probe)
            details = {
                "key": made.id,
                "provider": made.provider,
                "replaces": before.id,
                "replaced_provider": before.provider,
            }
            self._audit.append("key.replaced", details, connection=connection)

    def _rewrap_all(self) -> int:
        count = 0
        while True:
            # 3. Whatever is under another key is wrapped anew.
            with self._metadata.reading() as connection:
                left = self._left(connection)
            for start in range(0, len(left), _AT_ONCE):
                part = left[start : start + _AT_ONCE]
                anew = [(version, self._vault.rewrapped(version)) for version in part]
                with self._metadata.transaction() as connection:
                    for version, wrapped in anew:
                        self._metadata.rewrap(connection, version, wrapped)
                count += len(anew)

            # 4. When nothing is left, not even of what was stored meanwhile, the old keys retire.
            with self._metadata.transaction() as connection:
                if self._left(connection):
                    continue
                retired = self._keks.retire(connection)
                current = self._keks.current(connection)
                details = {
                    "key": current.id,
                    "provider": current.provider,
                    "rewrapped": count,
                    "retired": [kek.id for kek in retired],
                }
                self._audit.append("key.rotated", details, connection=connection)
                return count

    def _left(self, connection: sa.Connection) -> list[Version]:
        current = self._keks.current(connection).id
        versions = self._metadata.all_versions(connection)
        return [version for version in versions if kek_of(version.table_key) != current]

    def _destroy(self, keks: Iterator[StoredKek]) -> list[str]:
        # 5. First the key itself, then what the database knows about it.
        destroyed = []
        for kek in keks:
            if kek.provider == "file":
                destroy_file(kek.path(self._config))
            with self._metadata.transaction() as connection:
                self._keks.forget(connection, kek)
            destroyed.append(kek.id)
        return destroyed


def _current(keks: list[StoredKek]) -> StoredKek:
    return next(kek for kek in keks if kek.state == "current")
