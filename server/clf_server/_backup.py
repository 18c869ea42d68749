"""Backup of a server, while it runs, and restore: one file with everything, or nothing.

A backup is a tar file: the files of the server's directory, a snapshot of the database, the
ciphertext of every version that the snapshot names, and last a list of all with their digests. A
file without that list was cut.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import shutil
import tarfile
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from clf_sdk.errors import (
    ConfigurationError,
    Conflict,
    FormatTooNew,
    Malformed,
    NotFound,
    StorageFull,
)
from clf_sdk.keys import server_id
from clf_server._audit import AuditLog
from clf_server._config import CONFIG_NAME, METADATA_NAME, load_config
from clf_server._config_keys import KEYS
from clf_server._database import sqlite_url
from clf_server._identities import Identities
from clf_server._metadata import Metadata
from clf_server._objects import ObjectStore
from clf_server._pause import Pause
from clf_server._profiles import PROFILE_SUFFIX
from clf_server._snapshot import put_snapshot, take_snapshot
from clf_server._state import OBJECTS_NAME, open_objects
from clf_server._upgrade import sign_tokens

_LIST_NAME = "backup.json"
_SNAPSHOT_NAME = "database.sqlite"
_FORMAT = 1
_ATTEMPTS = 5
_PIECE_BYTES = 1 << 20
_LEFT_OUT = {OBJECTS_NAME, ".lock", ".rotation.lock", "collateral"}


@dataclass(frozen=True)
class BackupSummary:
    """What a backup holds.

    Attributes
    ----------
    server
        Id of the server.
    created_at
        Unix seconds.
    entries
        Entries of the audit log.
    files, size_bytes
        How many files, with how many bytes.
    """

    server: str
    created_at: int
    entries: int
    files: int
    size_bytes: int


class _Writer:
    """A tar file that notes the digest of all that goes into it."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self.digests: dict[str, str] = {}
        self.size_bytes = 0

    def add(self, name: str, stream: IO[bytes], size: int, *, mode: int = 0o600) -> None:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode, entry.mtime = size, mode, int(time.time())
        hashing = _Hashing(stream)
        self._tar.addfile(entry, hashing)
        self.digests[name] = hashing.hexdigest()
        self.size_bytes += size

    def add_file(self, name: str, path: Path) -> None:
        with path.open("rb") as stream:
            info = path.stat()
            self.add(name, stream, info.st_size, mode=info.st_mode & 0o700)


class _Hashing(io.RawIOBase):
    """Reads a stream and hashes what was read."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._hash.update(data)
        return data

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def make_backup(directory: Path, file: Path) -> BackupSummary:
    """Write everything that makes a server into one file of mode 0600, while it may run.

    Parameters
    ----------
    directory
        The server's.
    file
        The backup, which must not exist. Whoever reads it can open every table whose key-encryption
        key lies in the directory.

    Raises
    ------
    ConfigurationError
        The file exists, or can't be written.
    StorageUnavailable
        The database or the store does not answer.
    """
    if file.exists():
        raise ConfigurationError(f"{file} exists already", hint="name another file")
    for attempt in range(_ATTEMPTS):
        try:
            return _try_backup(directory, file)
        except NotFound as error:  # a table was replaced or dropped meanwhile: look again
            if attempt == _ATTEMPTS - 1:
                raise Conflict(
                    "tables change faster than they can be copied", hint="try again later"
                ) from error
    raise AssertionError


def _try_backup(directory: Path, file: Path) -> BackupSummary:
    config = load_config(directory)
    objects, now = open_objects(config), int(time.time())
    part = file.with_name(f".{file.name}.{secrets.token_hex(4)}.part")
    try:
        with (
            tempfile.TemporaryDirectory(prefix=".clf-backup.", dir=file.parent) as folder,
            os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream,
        ):
            snapshot = Path(folder) / _SNAPSHOT_NAME
            take_snapshot(config, snapshot)
            metadata = Metadata(sqlite_url(snapshot))
            try:
                versions = sorted(metadata.visible_versions())
                identities = Identities(metadata, directory)
                identity = identities.current()
                log = AuditLog(metadata, identities.present, mode=config.mode, now=lambda: now)
                entries = log.checkpoint().size
            finally:
                metadata.close()
            with tarfile.open(fileobj=stream, mode="w|") as tar:
                writer = _Writer(tar)
                writer.add_file(_SNAPSHOT_NAME, snapshot)
                for path in _files(directory):
                    writer.add_file(f"directory/{path.relative_to(directory)}", path)
                for version_id in versions:
                    _add_version(writer, objects, version_id)
                summary = BackupSummary(
                    server=server_id(identity.public_bytes),
                    created_at=now,
                    entries=entries,
                    files=len(writer.digests),
                    size_bytes=writer.size_bytes,
                )
                document = {
                    "clf": _FORMAT,
                    "type": "backup",
                    **vars(summary),
                    "digests": writer.digests,
                }
                text = json.dumps(document).encode()
                writer.add(_LIST_NAME, io.BytesIO(text), len(text))
            stream.flush()
            os.fsync(stream.fileno())
        part.rename(file)
    except OSError as error:
        if isinstance(error, StorageFull) or getattr(error, "code", None):
            raise
        raise ConfigurationError(f"{file} can't be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
    return summary


def _files(directory: Path) -> list[Path]:
    """Return the files of a server's directory that are neither database nor ciphertext.

    Profiles stay out: with the token in one, whoever reads the backup could act as the owner. They
    make no server, and `clf server token create` makes new ones.
    """
    return sorted(
        path
        for path in directory.rglob("*")
        if path.is_file()
        and path.relative_to(directory).parts[0] not in _LEFT_OUT
        and not path.name.startswith(METADATA_NAME)
        and not path.name.endswith((".part", PROFILE_SUFFIX))
    )


def _add_version(writer: _Writer, objects: ObjectStore, version_id: str) -> None:
    sizes = objects.sizes(version_id)
    if not sizes:
        raise NotFound("the version is gone")
    for name, size in sorted(sizes.items()):
        with objects.open(version_id, name) as stream:
            writer.add(f"objects/{version_id}/{name}", stream, size)


# -- restore ---------------------------------------------------------------------------------------


def restore_backup(
    file: Path, directory: Path, *, settings: Mapping[str, str] | None = None
) -> BackupSummary:
    """Make a server from a backup, all at once or not at all. It is paused.

    Parameters
    ----------
    file
        The backup.
    directory
        Must not exist, or be empty.
    settings
        Keys of the configuration that are to be others than in the backup, for example where its
        database and its store are.

    Raises
    ------
    ConfigurationError
        The directory or the database is in use, or a setting can't be used.
    Malformed
        The file is not a whole backup, or was changed.
    FormatTooNew
        A later version of CLF wrote it.
    """
    if directory.exists() and any(directory.iterdir()):
        raise ConfigurationError(
            f"{directory} is not empty", hint="name a new directory; nothing was changed"
        )
    directory.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        summary = _unpack(file, part)
        made = part / "directory"
        made.chmod(0o700)
        _change_settings(made / CONFIG_NAME, settings or {})
        config = load_config(made)
        revision = put_snapshot(part / _SNAPSHOT_NAME, config)
        if config.object_store is None:
            (part / OBJECTS_NAME).rename(made / OBJECTS_NAME)
        else:
            _put_objects(part / OBJECTS_NAME, open_objects(config))
        sign_tokens(made, before=revision)
        _pause(made, summary)
        if directory.exists():
            directory.rmdir()
        made.rename(directory)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return summary


def _unpack(file: Path, part: Path) -> BackupSummary:
    """Unpack a backup and check every digest."""
    digests: dict[str, str] = {}
    try:
        with tarfile.open(file, mode="r:") as tar:
            for entry in tar:
                if not entry.isfile():
                    raise _no_backup(file)
                tar.extract(entry, part, filter="data")
                with (part / entry.name).open("rb") as stream:
                    digests[entry.name] = hashlib.file_digest(stream, "sha256").hexdigest()
    except (OSError, tarfile.TarError) as error:
        raise _no_backup(file) from error
    path = part / _LIST_NAME
    if not path.exists():
        raise _no_backup(file)
    del digests[_LIST_NAME]
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
        if document["clf"] > _FORMAT:
            raise FormatTooNew("a later version of CLF wrote this backup", hint="upgrade CLF")
        listed = document["digests"]
        names = BackupSummary.__dataclass_fields__
        summary = BackupSummary(**{name: document[name] for name in names})
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, FormatTooNew):
            raise
        raise _no_backup(file) from error
    if listed != digests:
        raise _no_backup(file)
    for name in ("directory", OBJECTS_NAME):
        (part / name).mkdir(mode=0o700, exist_ok=True)
    return summary


def _no_backup(file: Path) -> Malformed:
    return Malformed(f"{file} is not a whole backup", hint="it was cut or changed; use another one")


def _change_settings(conf: Path, settings: Mapping[str, str]) -> None:
    if not settings:
        return
    lines = conf.read_text("utf-8-sig").splitlines()
    kept = [line for line in lines if line.partition("=")[0].strip() not in settings]
    known = {key.name: key for key in KEYS}
    changed = [
        f"{name}={value}"
        for name, value in settings.items()
        if value or name not in known or known[name].default != ""
    ]
    conf.write_text("\n".join([*kept, *changed]) + "\n", "utf-8")


def _put_objects(folder: Path, objects: ObjectStore) -> None:
    for version in sorted(folder.iterdir()):
        with objects.writer(version.name) as writer:
            for path in sorted(version.iterdir()):
                with path.open("rb") as stream, writer.object(path.name) as write:
                    while piece := stream.read(_PIECE_BYTES):
                        write([piece])
            writer.commit()


def _pause(directory: Path, summary: BackupSummary) -> None:
    """Note the restore, and pause: what was decided since the backup is not known here."""
    config, now = load_config(directory), int(time.time())
    metadata = Metadata(config.database)
    try:
        present = Identities(metadata, directory).present
        log = AuditLog(metadata, present, mode=config.mode, now=lambda: now)
        with metadata.transaction() as connection:
            Pause().set(connection, now=now)
            details = {"backup_of": summary.created_at, "entries": summary.entries}
            log.append("server.restored", details, connection=connection)
    finally:
        metadata.close()
