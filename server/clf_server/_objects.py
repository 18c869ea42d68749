"""Where ciphertext lies: objects by version and name, through ``pyarrow.fs``."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
from pyarrow import fs

from clf_sdk.errors import Conflict, NotFound, StorageFull

_FULL = {errno.ENOSPC, errno.EDQUOT}


def _explain(error: OSError) -> OSError:
    """Turn a full disk into its own error."""
    if error.errno in _FULL:
        return StorageFull(
            "the server has no space left for the data",
            hint="the operator must free space or enlarge the volume; nothing was published",
        )
    return error


class ObjectStore:
    """Objects in a local directory, one folder for each version.

    Whatever a folder holds is invisible until the metadata name its version, so a writer
    that dies leaves only a folder to sweep.
    """

    def __init__(self, root: Path) -> None:
        root.mkdir(mode=0o700, exist_ok=True)
        self._root = root
        self._files = fs.SubTreeFileSystem(str(root), fs.LocalFileSystem(use_mmap=True))

    def writer(self, version_id: str) -> ObjectWriter:
        """Begin a version."""
        return ObjectWriter(self._root, self._files, version_id)

    def open(self, version_id: str, name: str) -> pa.NativeFile:
        """Open an object for reading at any offset.

        Raises
        ------
        NotFound
            There is no such object.
        """
        try:
            return self._files.open_input_file(f"{version_id}/{name}")
        except OSError as error:
            raise NotFound(
                "there is no such object",
                hint="the table was replaced or dropped; open a new session",
            ) from error

    def read(self, version_id: str, name: str) -> bytes:
        """Read a small object whole."""
        with self.open(version_id, name) as file:
            return bytes(file.read())

    def read_range(self, version_id: str, name: str, start: int, stop: int) -> pa.Buffer:
        """Read the bytes from ``start`` to ``stop`` of an object, without a copy."""
        with self.open(version_id, name) as file:
            file.seek(start)
            return file.read_buffer(stop - start)

    def sizes(self, version_id: str) -> dict[str, int]:
        """Return the size in bytes of each object of a version."""
        found = self._files.get_file_info(fs.FileSelector(version_id, allow_not_found=True))
        return {info.base_name: info.size for info in found}

    def delete(self, version_id: str) -> None:
        """Delete all objects of a version, if there are any."""
        if self._files.get_file_info(version_id).type != fs.FileType.NotFound:
            self._files.delete_dir(version_id)

    def sweep(self, known: set[str]) -> list[str]:
        """Delete the versions that are not known, and return their ids."""
        found = self._files.get_file_info(fs.FileSelector(""))
        orphans = [info.base_name for info in found if info.base_name not in known]
        for version_id in orphans:
            self.delete(version_id)
        return orphans


class ObjectWriter:
    """Writes the objects of one version. Used as a block, it deletes what was not committed.

    Data reaches the disk in the background while the next object is sealed, and certainly
    before :meth:`commit` returns.
    """

    def __init__(self, root: Path, files: fs.FileSystem, version_id: str) -> None:
        self._folder = root / version_id
        self._files = files
        self._version_id = version_id
        self._syncs: list[Future[None]] = []
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="sync")
        self._committed = False
        try:
            self._folder.mkdir(mode=0o700)
        except FileExistsError as error:
            raise Conflict("this version id is in use", hint="draw a new random one") from error
        except OSError as error:
            raise _explain(error) from error

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
        """
        path = f"{self._version_id}/{name}"
        try:
            stream = self._files.open_output_stream(path)
        except OSError as error:
            raise _explain(error) from error

        def write(pieces: Iterable[Any]) -> None:
            try:
                for piece in pieces:
                    stream.write(piece)
            except OSError as error:
                raise _explain(error) from error

        try:
            try:
                yield write
            finally:
                stream.close()
        except OSError as error:
            self._files.delete_file(path)
            raise _explain(error) from error
        except BaseException:
            self._files.delete_file(path)
            raise
        self._syncs.append(self._executor.submit(_sync, self._folder / name))

    def write(self, name: str, data: Any) -> None:
        """Write one object at once.

        Raises
        ------
        StorageFull
            No space is left.
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
        try:
            for sync in self._syncs:
                sync.result()
            _sync(self._folder)
            _sync(self._folder.parent)
        except OSError as error:
            raise _explain(error) from error
        self._executor.shutdown()
        self._committed = True

    def discard(self) -> None:
        """Delete what was written."""
        self._executor.shutdown(wait=True, cancel_futures=True)
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
