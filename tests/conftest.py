"""Real servers in simulation, and users' directories that are never the real ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import clf_sdk as clf
from clf_enclave._program import program_measurement
from clf_sdk._server_process import ServerProcess
from clf_sdk.attestation import EnclavePolicy, create_simulation


@pytest.fixture(scope="session", autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setenv("XDG_DATA_HOME", str(home / "data"))
        patch.setenv("XDG_STATE_HOME", str(home / "state"))
        yield


@pytest.fixture(scope="session")
def simulation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tee") / "simulation"
    create_simulation(folder)
    return folder


@pytest.fixture(scope="session")
def policy() -> clf.Policy:
    enclave = EnclavePolicy(mrenclave=program_measurement())
    return clf.Policy(enclave=enclave, operations=["glm"])


@pytest.fixture
def make_server(tmp_path: Path, simulation: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Start server processes that end with the test."""
    started: list[ServerProcess] = []

    def make(
        name: str, *, blob_listener: bool = True, anchor: Path | None = simulation / "anchor.pem"
    ) -> ServerProcess:
        server = ServerProcess(
            tmp_path / name, name=name, insecure_simulation=anchor, blob_listener=blob_listener
        )
        server.start()
        started.append(server)
        return server

    yield make
    for server in started:
        server.stop()
