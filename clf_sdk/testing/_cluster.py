"""Several owners' servers and one simulated TEE, in a directory."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from clf_sdk._cards import card
from clf_sdk._connection import Connection, connect
from clf_sdk._identity import Identity
from clf_sdk._not_picklable import NotPicklable
from clf_sdk._server_process import ServerProcess
from clf_sdk.attestation import EnclavePolicy, TrustAnchor, create_simulation
from clf_sdk.errors import ConfigurationError, InvalidInput
from clf_sdk.policy import Policy
from clf_sdk.protocol import Profile, check_name

_MOST_OWNERS = 16
_SIMULATION, _IDENTITY, _ANALYST = "simulation", "analyst.identity.private", "analyst"


class _Connections(Mapping[str, Connection]):
    """Connections by owner, each made when it is first asked for."""

    def __init__(self, names: Sequence[str], make: Callable[[str], Connection]) -> None:
        self._names = tuple(names)
        self._make = make
        self._made: dict[str, Connection] = {}

    def __repr__(self) -> str:
        return f"<connections to {', '.join(self._names)}>"

    def __getitem__(self, name: str) -> Connection:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def close(self) -> None:
        """Close those that were made."""
        while self._made:
            self._made.popitem()[1].close()


class Cluster(NotPicklable):
    """Simulated owners, from `cluster`. INSECURE: it protects nothing.

    Attributes
    ----------
    directory
        Where the servers' directories lie.
    owners
        Connections of the owners, by name.
    analyst
        Connections of the analyst to each owner, by the owner's name.
    """

    _not_pickled: ClassVar[str] = "it holds processes and tokens; give its directory"

    def __init__(
        self,
        names: Sequence[str],
        directory: Path,
        *,
        analyst: Identity | None = None,
        temporary: bool = False,
    ) -> None:
        self.directory = directory
        started: list[ServerProcess] = []
        self._finalizer = weakref.finalize(self, _end, started, directory if temporary else None)
        self._analyst = analyst
        self._servers = self._start(names, started)
        self.owners: Mapping[str, Connection] = _Connections(names, self._connect_owner)
        self.analyst: Mapping[str, Connection] = _Connections(names, self._connect_analyst)

    def __repr__(self) -> str:
        return f"Cluster({', '.join(self._servers)} in {self.directory}; INSECURE SIMULATION)"

    def _repr_html_(self) -> str:
        rows = {name: server.owner.url for name, server in self._servers.items()}
        return card("Cluster", str(self.directory), rows, simulation=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def simulation(self) -> Path:
        """Directory of the simulated TEE: ``clf.run(job, insecure_simulation=…)``."""
        return self.directory / _SIMULATION

    @property
    def anchor(self) -> TrustAnchor:
        """Root of the simulated TEE: ``clf.verify(receipt, anchor=…)``."""
        return TrustAnchor.insecure_simulation(self.simulation / "anchor.pem")

    @cached_property
    def enclave(self) -> EnclavePolicy:
        """What pins the enclave app of this installation; real owners review it, then pin it."""
        command = [sys.executable, "-m", "clf_enclave", "measure"]
        measured = subprocess.run(command, capture_output=True, text=True, check=True)
        return EnclavePolicy(mrenclave=measured.stdout.strip())

    @cached_property
    def identity(self) -> Identity:
        """The analyst's identity; made for this cluster, unless one was given."""
        if self._analyst is not None:
            return self._analyst
        path = self.directory / _IDENTITY
        if not path.exists():
            Identity.create().save(path, passphrase=None)
        return Identity.load(path)

    @property
    def pids(self) -> dict[str, int | None]:
        """Id of each server's process; None for those that somebody else has started."""
        return {name: server.pid for name, server in self._servers.items()}

    def policy(self, operations: Sequence[str], **rules: Any) -> Policy:
        """Return a policy that pins the enclave app of this installation.

        Parameters
        ----------
        operations
            Names of the operations that may run.
        **rules
            Further rules; see `Policy`.
        """
        return Policy(enclave=self.enclave, operations=operations, **rules)

    def owner_profile(self, name: str) -> Path:
        """Return the profile file of an owner."""
        return self.directory / name / "owner.profile.json"

    def analyst_profile(self, name: str) -> Path:
        """Return the profile file of the analyst for an owner's server, who is then known there.

        Raises
        ------
        ConfigurationError
            The server knows another person as the analyst of this cluster.
        """
        path = self.directory / name / f"{_ANALYST}.profile.json"
        if not path.exists():
            self._servers[name].admit(self.identity.public, label=_ANALYST)
        elif Profile.load(path).analyst != self.identity.id:
            raise ConfigurationError(
                f"the owner {name!r} of this cluster knows another analyst",
                hint="use the identity that it was made with, or another directory",
            )
        return path

    def stop(self) -> None:
        """Close all connections, and stop the servers that this object has started."""
        for connections in (self.owners, self.analyst):
            assert isinstance(connections, _Connections)  # noqa: S101 - made in __init__
            connections.close()
        self._finalizer()

    def _connect_owner(self, name: str) -> Connection:
        return connect(self.owner_profile(name))

    def _connect_analyst(self, name: str) -> Connection:
        return connect(self.analyst_profile(name))

    def _start(
        self, names: Sequence[str], started: list[ServerProcess]
    ) -> dict[str, ServerProcess]:
        """Start every owner's server that does not run already, all at the same time."""
        if not self.simulation.exists():
            create_simulation(self.simulation)
        anchor, analyst = self.simulation / "anchor.pem", self.identity.public

        def start(name: str) -> ServerProcess:
            server = ServerProcess(
                self.directory / name,
                name=name,
                insecure_simulation=anchor,
                analysts={_ANALYST: analyst},
            )
            if not server.answers():
                started.append(server)
                server.start()
            return server

        try:
            with ThreadPoolExecutor() as pool:
                return dict(zip(names, pool.map(start, names), strict=True))
        except BaseException:
            self._finalizer()
            raise


def _end(servers: Sequence[ServerProcess], folder: Path | None) -> None:
    """Stop servers, one after the other: at the end of a process no thread can be started."""
    for server in servers:
        server.stop()
    if folder is not None:
        shutil.rmtree(folder)


def _names(owners: int | Sequence[str]) -> list[str]:
    if isinstance(owners, int):
        owners = [f"owner-{number}" for number in range(1, owners + 1)]
    names = [check_name(name, what="an owner") for name in owners]
    if not 1 <= len(names) <= _MOST_OWNERS or len(set(names)) != len(names):
        raise InvalidInput(f"a cluster has 1 to {_MOST_OWNERS} owners with distinct names")
    if _SIMULATION in names:
        raise InvalidInput(f"no owner of a cluster can be called {_SIMULATION!r}")
    return names


def cluster(
    owners: int | Sequence[str] = 3,
    *,
    directory: str | Path | None = None,
    analyst: Identity | None = None,
) -> Cluster:
    """Start simulated owners, each with a server process of its own, on this machine.

    INSECURE: a simulated TEE protects nothing. The protocol and all checks are real.

    Parameters
    ----------
    owners
        How many, or their names.
    directory
        Where to keep them. Owners that lie there already are started again, and those that run
        already are used as they are. By default a temporary directory, which is removed at the
        end.
    analyst
        The analyst's identity; by default one that is made for the cluster.

    Returns
    -------
    Cluster
        To be used in a ``with`` statement, or stopped by its ``stop``; it stops with the process
        at the latest.

    Raises
    ------
    InvalidInput
        The owners' names can't be used.
    ConfigurationError
        A server does not start; the message has the end of its log.
    """
    names = _names(owners)
    if directory is not None:
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return Cluster(names, folder, analyst=analyst)
    folder = Path(tempfile.mkdtemp(prefix="clf-cluster-"))
    return Cluster(names, folder, analyst=analyst, temporary=True)
