"""What a server says about a directory or a port that it can not use: real processes and users."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from clf_sdk._server_process import free_port
from clf_server._provision import create_server

NOBODY = 65534
AS_USER = """
import encodings.utf_8_sig, os, sys
from pathlib import Path
from clf_sdk.errors import ClfError
from clf_server._serve import run_server
os.setuid(int(sys.argv[1]))  # the interpreter itself may lie where only root can read
try:
    run_server(Path(sys.argv[2]))
except ClfError as error:
    sys.exit(f"Error: {error}")
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    """Return a server's directory that other users could reach."""
    with tempfile.TemporaryDirectory(prefix="clf-test-") as folder:
        root = Path(folder)
        root.chmod(0o755)
        yield create_server(
            root / "clinic", name="clinic", port=free_port(), blob_port=free_port()
        ).directory


def start(directory: Path, *flags: str, user: int | None = None) -> str:
    """Return what a server says that ends at once."""
    command = ["-m", "clf_server", "run"] if user is None else ["-c", AS_USER, str(user)]
    done = subprocess.run(
        [sys.executable, *command, str(directory), *flags],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd="/",
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as other users")


def test_port_that_is_taken_is_named(directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = start(directory, "--port", str(port))
    assert f"can't listen on 127.0.0.1:{port}: Address already in use" in said
    assert "another process uses the port" in said


@needs_root
def test_directory_of_another_user_is_not_touched_by_root(directory: Path) -> None:
    os.chown(directory, NOBODY, NOBODY)
    before = sorted(path.name for path in directory.iterdir())
    said = start(directory)
    assert f"{directory} belongs to nobody, and this process is root" in said
    assert sorted(path.name for path in directory.iterdir()) == before


@needs_root
def test_directory_of_root_can_not_be_used_by_others(directory: Path) -> None:
    assert f"{directory} belongs to root" in start(directory, user=NOBODY)


@needs_root
def test_read_only_directory_is_named(directory: Path) -> None:
    for path in [directory, *directory.rglob("*")]:
        os.chown(path, NOBODY, NOBODY)
    directory.chmod(0o500)
    said = start(directory, user=NOBODY)
    assert f"{directory} is read-only" in said
    assert "mount it writable" in said


@needs_root
def test_key_of_another_user_is_named(directory: Path) -> None:
    for path in [directory, *directory.rglob("*")]:
        os.chown(path, NOBODY, NOBODY)
    os.chown(directory / "tls" / "server.key", 0, 0)
    assert "it belongs to root; run the server as that user" in start(directory, user=NOBODY)


def test_bad_flag_and_bad_certificate_end_the_start_with_the_remedy(directory: Path) -> None:
    assert "'MREnclave' must be 64 hex digits" in start(directory, "-E", "00" * 32)
    shutil.copy(directory / "tls" / "ca.key", directory / "other.key")
    said = start(directory, "-k", str(directory / "other.key"))
    assert "is not that of the certificate" in said
