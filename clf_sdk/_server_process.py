"""An owner's server as a process on this machine: for the demonstration, tests and benchmarks."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from clf_sdk._http import HttpClient
from clf_sdk._public_identity import PublicIdentity
from clf_sdk.errors import ConfigurationError, DeadlineExceeded, TransportError
from clf_sdk.protocol import Profile

_START_SECONDS = 90.0
_STOP_SECONDS = 25.0
_POLL_SECONDS = 0.05


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(client: HttpClient) -> bool:
    try:
        client.send("GET", "/readyz")
    except TransportError:
        return False
    return True


def _operate(*arguments: str) -> None:
    """Run a command of the server's operator."""
    command = [sys.executable, "-m", "clf_server", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigurationError(f"`clf server {arguments[0]}` failed: {done.stderr.strip()}")


@contextlib.contextmanager
def _identity_files(people: Mapping[str, PublicIdentity]) -> Iterator[dict[str, Path]]:
    """Lend files of public identities, by label."""
    with tempfile.TemporaryDirectory(prefix="clf-") as folder:
        files = {label: Path(folder) / f"{label}.identity.json" for label in people}
        for label, file in files.items():
            people[label].save(file)
        yield files


class ServerProcess:
    """A server in a directory, started and stopped as a process.

    Parameters
    ----------
    directory
        The server's directory; it is made when it does not exist.
    name
        What the server is called.
    insecure_simulation
        Anchor of the simulated TEE that it trusts.
    blob_listener
        Whether ciphertext is served on a listener of its own, over plain HTTP.
    analysts
        Who becomes known when the directory is made, by label; each with a profile in it.
    """

    def __init__(
        self,
        directory: Path,
        *,
        name: str,
        insecure_simulation: Path | None,
        blob_listener: bool = True,
        analysts: Mapping[str, PublicIdentity] = MappingProxyType({}),
    ) -> None:
        self.directory = directory
        self.log = directory.with_name(f"{directory.name}.log")
        self._process: subprocess.Popen[bytes] | None = None
        if not directory.exists():
            options = [
                *("--name", name),
                *("--port", str(free_port())),
                *("--blob-port", str(free_port()) if blob_listener else "off"),
            ]
            if insecure_simulation is not None:
                options += ["--insecure-simulation", str(insecure_simulation)]
            with _identity_files(analysts) as files:
                for label, file in files.items():
                    options += ["--analyst", f"{label}={file}"]
                _operate("init", str(directory), *options)

    def __repr__(self) -> str:
        return f"ServerProcess({self.directory.name!r}, pid={self.pid})"

    @property
    def pid(self) -> int | None:
        """Id of the process, while it runs."""
        return None if self._process is None else self._process.pid

    @property
    def owner(self) -> Profile:
        """The owner's profile."""
        return Profile.load(self.directory / "owner.profile.json")

    def admit(self, analyst: PublicIdentity, *, label: str) -> Profile:
        """Make an analyst known to the server, and return the profile of a token for it."""
        directory = str(self.directory)
        with _identity_files({label: analyst}) as files:
            _operate("analyst", "add", directory, str(files[label]), "--label", label)
        _operate("token", "create", directory, "--role", "analyst", "--analyst", label)
        return Profile.load(self.directory / f"{label}.profile.json")

    def answers(self) -> bool:
        """Tell whether the server answers, whoever has started it."""
        client = HttpClient(self.owner)
        try:
            return _answers(client)
        finally:
            client.close()

    def start(self) -> None:
        """Start the process, and wait until it answers.

        Raises
        ------
        ConfigurationError
            It ended at once; the message holds the end of its log.
        DeadlineExceeded
            It does not answer.
        """
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "clf_server", "run", str(self.directory)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        client = HttpClient(self.owner)
        deadline = time.monotonic() + _START_SECONDS
        try:
            while not _answers(client):
                if self._process.poll() is not None:
                    tail = self.log.read_text("utf-8", "replace")[-1000:]
                    raise ConfigurationError(f"the server ended: {tail}")
                if time.monotonic() > deadline:
                    raise DeadlineExceeded("the server did not start in time")
                time.sleep(_POLL_SECONDS)
        except BaseException:
            self.kill()
            raise
        finally:
            client.close()

    def stop(self) -> None:
        """Stop the process as its operator would."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def kill(self) -> None:
        """Kill the process, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
