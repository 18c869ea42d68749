"""Where ciphertext lies: objects by version and name, through ``pyarrow.fs``."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import structlog
from pyarrow import fs

from clf_sdk.errors import ClfError, Conflict, NotFound, StorageFull, StorageUnavailable

_LOG = structlog.get_logger("clf_server")
_FULL = {errno.ENOSPC, errno.EDQUOT}
_SYNC_BYTES = 16 << 20  # the disk begins with that much, and has less to do in the end
_ORPHAN_SECONDS = 3600
"""How long nothing must have been added to a version that nobody knows, in a store that others use.

An upload that stands still ends after minutes, so what is older is dead."""


def _explain(error: OSError) -> OSError:
    """Turn a full disk, and a store that does not answer, into errors of our own."""
    if error.errno in _FULL:
        return StorageFull(
            "the server has no space left for the data",
            hint="the operator must free space or enlarge the volume; nothing was published",
        )
    return StorageUnavailable(
        "the store of the server's data is out of reach",
        hint="try again in a while; its operator sees why in the log",
    )


class ObjectStore:
    """Objects in a local directory or a bucket, one folder for each version.

    Whatever a folder holds is invisible until the metadata name its version, so a writer
    that dies leaves only a folder to sweep.

    Parameters
    ----------
    files
        The file system.
    root
        The local directory that it is; None for a bucket, which several servers may use.
    """

    def __init__(self, files: fs.FileSystem, *, root: Path | None) -> None:
        self._files = files
        self._root = root
        self._reclaim = ThreadPoolExecutor(1, thread_name_prefix="reclaim")
        self._reclaiming: Future[None] | None = None  # the last one

    @classmethod
    def local(cls, root: Path) -> Self:
        """Use a directory, which is made when it does not exist."""
        root.mkdir(mode=0o700, exist_ok=True)
        return cls(fs.SubTreeFileSystem(str(root), fs.LocalFileSystem(use_mmap=True)), root=root)

    @property
    def remote(self) -> bool:
        """Whether reads wait for a network."""
        return self._root is None

    def writer(self, version_id: str) -> ObjectWriter:
        """Begin a version; in a bucket, or go on with one."""
        return ObjectWriter(self._root, self._files, version_id)

    def open(self, version_id: str, name: str) -> pa.NativeFile:
        """Open an object for reading at any offset.

        Raises
        ------
        NotFound
            There is no such object.
        StorageUnavailable
            The store does not answer.
        """
        try:
            return self._files.open_input_file(f"{version_id}/{name}")
        except FileNotFoundError as error:
            raise _missing() from error
        except OSError as error:
            raise _explain(error) from error

    def open_local(self, version_id: str, name: str) -> FileIO | None:
        """Open an object as the operating system's own file; None where it is not one.

        Raises
        ------
        NotFound
            There is no such object.
        """
        if self._root is None:
            return None
        try:
            return (self._root / version_id / name).open("rb", buffering=0)
        except FileNotFoundError as error:
            raise _missing() from error

    def read(self, version_id: str, name: str) -> bytes:
        """Read a small object whole."""
        with self.open(version_id, name) as file, _explained():
            return bytes(file.read())

    def read_range(self, version_id: str, name: str, start: int, stop: int) -> pa.Buffer:
        """Read the bytes from ``start`` to ``stop`` of an object, without a copy."""
        with self.open(version_id, name) as file, _explained():
            file.seek(start)
            return file.read_buffer(stop - start)

    def sizes(self, version_id: str) -> dict[str, int]:
        """Return the size in bytes of each object of a version."""
        return {
            info.base_name: info.size
            for info in self._list(version_id)
            if info.type == fs.FileType.File
        }

    def _list(self, folder: str) -> list[fs.FileInfo]:
        with _explained():
            found: list[fs.FileInfo] = self._files.get_file_info(
                fs.FileSelector(folder, allow_not_found=True)
            )
        return found

    def delete(self, version_id: str) -> None:
        """Delete all objects of a version, if there are any."""
        with _explained():
            if self._files.get_file_info(version_id).type != fs.FileType.NotFound:
                self._files.delete_dir(version_id)

    def delete_soon(self, version_id: str) -> None:
        """Delete all objects of a version; in a directory in the background.

        A large file takes its time. What is left when that fails is swept at the next start.
        """
        if self._root is None:
            self.delete(version_id)
            return
        self._reclaiming = self._reclaim.submit(self._try_delete, version_id)

    def settle(self) -> None:
        """Wait until the space of what was deleted before is free."""
        if self._reclaiming is not None:
            self._reclaiming.result()

    def _try_delete(self, version_id: str) -> None:
        try:
            self.delete(version_id)
        except (OSError, ClfError) as error:
            _LOG.warning("not_deleted", version=version_id, reason=type(error).__name__)

    def versions(self) -> list[str]:
        """Return the ids of all versions of which there are objects."""
        return [info.base_name for info in self._list("")]

    def sweep(self, known: Callable[[], set[str]]) -> list[str]:
        """Delete the versions that are not known, and return their ids.

        Where other servers may write, only those to which nothing was added for an hour. What is
        known is asked for after the versions were listed, so that none slips in between.
        """
        found = self.versions()
        known_now = known()
        orphans = [version_id for version_id in found if version_id not in known_now]
        if self._root is None:
            orphans = [version_id for version_id in orphans if self._is_old(version_id)]
        for version_id in orphans:
            self.delete(version_id)
        return orphans

    def _is_old(self, version_id: str) -> bool:
        times = [info.mtime_ns for info in self._list(version_id) if info.mtime_ns is not None]
        return time.time_ns() - max(times, default=0) > _ORPHAN_SECONDS * 10**9

    def ping(self) -> None:
        """Ask the store anything; raises when it does not answer."""
        with _explained():
            self._files.get_file_info("ping")


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _explain(error) from error


def _missing() -> NotFound:
    return NotFound(
        "there is no such object",
        hint="the table was replaced or dropped; open a new session",
    )


class ObjectWriter:
    """Writes the objects of one version. Used as a block, it deletes what was not committed.

    In a directory, data reaches the disk in the background while the next object is sealed, and
    certainly before :meth:`commit` returns. In a bucket, an object is there for good or not at all
    when its block ends.
    """

    def __init__(self, root: Path | None, files: fs.FileSystem, version_id: str) -> None:
        self._folder = None if root is None else root / version_id
        self._files = files
        self._version_id = version_id
        self._syncs: list[Future[None]] = []
        self._committed = False
        if self._folder is None:
            return
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="sync")
        try:
            self._folder.mkdir(mode=0o700)
        except FileExistsError as error:
            raise Conflict("this version id is in use", hint="draw a new random one") from error
        except OSError as error:
            raise _explain(error) from error

    def _sync_soon(self, name: str) -> list[Future[None]]:
        if self._folder is None:
            return []
        return [self._executor.submit(_sync, self._folder / name)]

    @contextlib.contextmanager
    def object(self, name: str) -> Iterator[Callable[[Iterable[Any]], None]]:
        """Write one object in pieces; a block that fails leaves none.

        Yields
        ------
        callable
            Writes pieces, from any thread.

        Raises
        ------
        StorageFull
            No space is left.
        StorageUnavailable
            The store does not answer.
        """
        path = f"{self._version_id}/{name}"
        with _explained():
            stream = self._files.open_output_stream(path)

        unsynced, syncs = 0, list[Future[None]]()

        def write(pieces: Iterable[Any]) -> None:
            nonlocal unsynced
            with _explained():
                for piece in pieces:
                    stream.write(piece)
                    unsynced += len(piece)
            if unsynced >= _SYNC_BYTES:
                unsynced = 0
                syncs.extend(self._sync_soon(name))

        try:
            try:
                yield write
            finally:
                with _explained():
                    stream.close()
        except BaseException:
            # A bucket may not answer now; what it kept belongs to a version that nobody knows.
            with contextlib.suppress(*(() if self._folder else (OSError,))):
                self._files.delete_file(path)
            raise
        self._syncs += [*syncs, *self._sync_soon(name)]

    def write(self, name: str, data: Any) -> None:
        """Write one object at once.

        Raises
        ------
        StorageFull
            No space is left.
        StorageUnavailable
            The store does not answer.
        """
        with self.object(name) as write:
            write([data])

    def commit(self) -> None:
        """Wait until everything is on the disk.

        Raises
        ------
        StorageFull
            No space is left.
        """
        if self._folder is not None:
            with _explained():
                for sync in self._syncs:
                    sync.result()
                _sync(self._folder)
                _sync(self._folder.parent)
            self._executor.shutdown()
        self._committed = True

    def discard(self) -> None:
        """Delete what was written. What a bucket that does not answer keeps is swept later."""
        if self._folder is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._files.delete_dir(self._version_id)
            return
        with contextlib.suppress(OSError):
            self._files.delete_dir(self._version_id)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._committed:
            self.discard()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
