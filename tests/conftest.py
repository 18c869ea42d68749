from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_sdk._collector import collect_rarely
from clf_sdk._identity import own_identity_path
from clf_sdk._server_process import ServerProcess
from clf_sdk.attestation import create_simulation
from clf_testing import (
    ENVIRONMENT,
    LocalServer,
    Owner,
    PostgreSQL,
    Simulation,
    Store,
    find_postgresql,
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--backend",
        choices=["embedded", "replicated"],
        default="embedded",
        help="what servers in this process are: one with all in its directory, or two replicas on "
        "PostgreSQL and an S3-compatible store",
    )
    parser.addoption(
        "--rounds",
        type=int,
        default=6,
        help="how often a server is stopped or killed while uploads arrive, and while jobs run",
    )


def pytest_configure(config: pytest.Config) -> None:
    collect_rarely()
    config.addinivalue_line(
        "markers",
        "whole: runs a notebook, a page or a benchmark from beginning to end (make test-pages)",
    )
    config.addinivalue_line(
        "markers",
        "embedded(why): about one server that keeps all in its directory, not about replicas",
    )
    config.addinivalue_line(
        "markers",
        "same_directory: replicas have one directory, as they must while its files are changed",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("backend") == "embedded":
        return
    for item in items:
        if (mark := item.get_closest_marker("embedded")) is not None:
            item.add_marker(pytest.mark.skip(reason=f"not about replicas: {mark.args[0]}"))


@pytest.fixture(scope="session", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep identities and runs of the tests out of the user's directories, and out of a keyring."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setenv("XDG_DATA_HOME", str(home / "data"))
        patch.setenv("XDG_STATE_HOME", str(home / "state"))
        patch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
        patch.delenv("CLF_PASSPHRASE_FILE", raising=False)
        own = own_identity_path()
        own.parent.mkdir(parents=True, mode=0o700)
        clf.Identity.create().save(own, passphrase=None)
        yield


@pytest.fixture(scope="session")
def vectors() -> Path:
    """Folder of the real quotes; they are not part of the repository."""
    default = Path(__file__).parents[1].parent / "shared" / "vectors"
    folder = Path(os.environ.get("CLF_VECTORS", default))
    if not (folder / "intel_sgx_quote.bin").exists():
        pytest.skip("the attestation vectors are not here; set CLF_VECTORS to their folder")
    return folder


@pytest.fixture(scope="session")
def simulation(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    directory = tmp_path_factory.mktemp("simulation") / "tee"
    return Simulation(directory, create_simulation(directory))


@pytest.fixture(scope="session")
def policy(simulation: Simulation) -> clf.Policy:
    return simulation.policy


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """Return a cluster of the session's own."""
    programs = find_postgresql()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    cluster = PostgreSQL(programs)
    yield cluster
    cluster.close()


@pytest.fixture(scope="session")
def store() -> Iterator[Store]:
    """Return an S3-compatible store of the session's own."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        made = Store()
        yield made
        made.close()


@pytest.fixture(scope="session")
def make_shared(postgresql: PostgreSQL, store: Store) -> Callable[[], dict[str, str]]:
    """Make a database and a bucket that two replicas share."""

    def make() -> dict[str, str]:
        return {
            "database_url": postgresql.create_database(),
            "object_store": store.create_prefix(),
        }

    return make


@pytest.fixture
def make_local(
    simulation: Simulation, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[..., LocalServer]]:
    """Make servers in this process; with ``--backend replicated`` each is two replicas."""
    made: list[LocalServer] = []

    def make(name: str = "clinic", *, simulated: bool = True, **options: Any) -> LocalServer:
        anchor = simulation.anchor if simulated else None
        if request.config.getoption("backend") == "replicated":
            options.setdefault("shared", request.getfixturevalue("make_shared")())
            same = request.node.get_closest_marker("same_directory") is not None
            options.setdefault("same_directory", same)
        local = LocalServer(tmp_path / name, anchor=anchor, now=time.time() + 60, **options)
        made.append(local)
        return local

    yield make
    for local in made:
        local.close()


@pytest.fixture
def local(make_local: Callable[..., LocalServer]) -> LocalServer:
    return make_local()


@pytest.fixture(scope="session")
def make_owner(
    simulation: Simulation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Owner]]:
    """Make servers that are processes; they live until the session ends."""
    root = tmp_path_factory.mktemp("owners")
    made: list[Owner] = []

    def make(name: str, *, simulated: bool = True, **options: Any) -> Owner:
        anchor = simulation.anchor if simulated else None
        owner = Owner(root / name, simulation=anchor, **options)
        made.append(owner)
        return owner

    yield make
    for owner in made:
        owner.close()


@pytest.fixture(scope="session")
def clinic(make_owner: Callable[..., Owner]) -> Owner:
    return make_owner("clinic")


@pytest.fixture(scope="session")
def insurer(make_owner: Callable[..., Owner]) -> Owner:
    return make_owner("insurer")


@pytest.fixture
def connect() -> Iterator[Callable[[Owner], clf.Connection]]:
    """Connect as owner or analyst; connections end with the test."""
    made: list[clf.Connection] = []

    def connect_to(owner: Owner, role: str = "owner") -> clf.Connection:
        connection = clf.connect(owner.owner if role == "owner" else owner.analyst)
        made.append(connection)
        return connection

    yield connect_to
    for connection in made:
        connection.close()


@pytest.fixture(scope="session")
def numbers() -> pa.Table:
    """Return a table that a line fits, not quite."""
    return pa.table(
        {
            "id": pa.array(range(8), pa.int64()),
            "x": [float(i) for i in range(8)],
            "y": [1.0, 2.9, 5.2, 7.1, 8.8, 11.1, 13.0, 15.1],
        }
    )


@pytest.fixture
def make_server(tmp_path: Path, simulation: Simulation) -> Iterator[Callable[..., ServerProcess]]:
    """Start server processes that end with the test, in its own directory."""
    started: list[ServerProcess] = []

    def make(name: str, *, blob_listener: bool = True) -> ServerProcess:
        server = ServerProcess(
            tmp_path / name,
            name=name,
            insecure_simulation=simulation.anchor,
            blob_listener=blob_listener,
        )
        server.start()
        started.append(server)
        return server

    yield make
    for server in started:
        server.stop()
