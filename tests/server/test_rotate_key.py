"""Rotation of the key-encryption key, while a server runs and while it is killed."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pytest
from click.testing import CliRunner

import clf_sdk as clf
import clf_testing
from clf_sdk._server_process import ServerProcess
from clf_sdk.errors import ConfigurationError, KeysUnavailable
from clf_server import _state
from clf_server._cli import server as server_commands
from clf_server._config import METADATA_NAME
from clf_server._keks import Keks, kek_of
from clf_server._rotate_key import rotate_key
from clf_server._state import load_state
from clf_server._vault import Vault
from clf_testing import HandmadeEnclave, LocalServer, TransitServer

pytestmark = pytest.mark.same_directory


@pytest.fixture
def transit() -> Iterator[TransitServer]:
    with TransitServer() as transit:
        yield transit


@pytest.fixture
def copies(tmp_path: Path) -> Iterator[Path]:
    """Name a folder in memory, if there is one: kills need no disk, and syncing one takes long."""
    memory = Path("/dev/shm")  # noqa: S108 - a private folder of a random name is made in it
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as folder:
        yield Path(folder) / "copies"


def use_vault(directory: Path, transit: TransitServer) -> None:
    (directory / "token").write_text(transit.token)
    configure(
        directory,
        key_provider="vault",
        vault_url=transit.url,
        vault_key="clf",
        vault_token_file="token",
    )


def configure(directory: Path, **settings: str) -> None:
    path = directory / "clf_server.conf"
    lines = path.read_text().splitlines()
    kept = [line for line in lines if line.split("=")[0].strip() not in settings]
    path.write_text("\n".join([*kept, *(f"{k} = {v}" for k, v in settings.items())]) + "\n")


def wrapped(local: LocalServer) -> dict[str, str]:
    """Return the wrapped key of each version, as it lies in the database."""
    return dict(local.sql("SELECT version_id, table_key FROM versions"))


def wrapped_in(directory: Path) -> dict[str, str]:
    """Return the same of a directory in which no server runs."""
    connection = sqlite3.connect(directory / METADATA_NAME)
    rows = connection.execute("SELECT version_id, table_key FROM versions").fetchall()
    connection.close()
    return dict(rows)


def objects(local: LocalServer) -> dict[str, tuple[int, bytes]]:
    """Return time of change and bytes of each stored object."""
    store = local.state.objects
    return {
        f"{version}/{info.base_name}": (info.mtime_ns, store.read(version, info.base_name))
        for version in local.stored()
        for info in store._list(version)
    }


def readable(directory: Path) -> set[str]:
    """Open every table's manifest as a server that starts now would; return their names."""
    with mock.patch.object(_state, "_lock"):  # it lives as long as this process
        state = load_state(directory)
    vault = Vault(state.keks, state.objects)
    tables = state.metadata.list_tables()
    for table in tables:
        assert vault.manifest(table.current).rows
        assert len(vault.policy_key(table.current)) == 32
    state.metadata.close()
    return {table.name for table in tables}


def test_rotation_wraps_every_key_anew_and_uploads_nothing_again(
    local: LocalServer, enclave: HandmadeEnclave, numbers: pa.Table, policy: clf.Policy
) -> None:
    filtered = policy.__class__.from_json(policy.to_json() | {"rows": "x > 3"})
    local.upload("few", numbers, filtered)
    before, bytes_before = wrapped(local), objects(local)
    old = (local.directory / "kek.key").read_bytes()
    done = rotate_key(local.directory)
    after = wrapped(local)
    assert (done.rewrapped, done.provider, len(done.destroyed)) == (2, "file", 1)
    assert before.keys() == after.keys()
    assert {kek_of(each) for each in after.values()} == {done.key}
    assert objects(local) == bytes_before
    assert not (local.directory / "kek.key").exists()
    assert old not in b"".join(p.read_bytes() for p in local.directory.glob("*") if p.is_file())
    # The server that ran all the time goes on: it opens what there was, and wraps with the new key.
    assert enclave.keys(enclave.open())
    local.upload("later", numbers, policy)
    assert {kek_of(each) for each in wrapped(local).values()} == {done.key}
    assert local.tables() == ["few", "later", "plans"]


def test_rotation_stands_in_the_audit_log(local: LocalServer, shared: object) -> None:
    assert shared
    first = kek_of(next(iter(wrapped(local).values())))
    done = rotate_key(local.directory)
    began, ended = local.audited()[-2:]
    assert (began.event, ended.event) == ("key.replaced", "key.rotated")
    assert began.details == {
        "key": done.key,
        "provider": "file",
        "replaces": first,
        "replaced_provider": "file",
    }
    assert ended.details == {
        "key": done.key,
        "provider": "file",
        "rewrapped": 1,
        "retired": [first],
    }


def test_rotation_moves_the_keys_from_file_to_vault_and_back(
    local: LocalServer, enclave: HandmadeEnclave, transit: TransitServer
) -> None:
    use_vault(local.directory, transit)
    assert rotate_key(local.directory).provider == "vault"
    assert not list(local.directory.glob("kek*"))
    assert all(each.startswith("clf1-transit:") for each in wrapped(local).values())
    assert enclave.keys(
        enclave.open()
    )  # the running server, which was started with the other provider
    local.close()
    local.restart()
    assert enclave.keys(enclave.open())
    transit.rotate()
    assert rotate_key(local.directory).rewrapped == 1
    assert all(":vault:v2:" in each for each in wrapped(local).values())
    configure(local.directory, key_provider="file")
    assert rotate_key(local.directory).provider == "file"
    transit.sealed = True
    assert enclave.keys(enclave.open())


def test_vault_that_is_down_closes_tables_for_a_while_and_says_so(
    local: LocalServer, enclave: HandmadeEnclave, transit: TransitServer
) -> None:
    use_vault(local.directory, transit)
    rotate_key(local.directory)
    transit.sealed = True
    answer = local.control.get("/v1/tables", headers=local.bearer())
    assert (answer.status_code, answer.json()["code"]) == (503, "keys_unavailable")
    assert local.control.get("/readyz").status_code == 503
    assert local.control.get("/healthz").status_code == 200
    local.close()
    with pytest.raises(KeysUnavailable):
        local.restart()
    transit.sealed = False
    local.restart()
    assert enclave.keys(enclave.open())


@pytest.mark.parametrize("answered", range(8))
def test_rotation_that_its_provider_breaks_off_loses_nothing(
    local: LocalServer, transit: TransitServer, numbers: pa.Table, policy: clf.Policy, answered: int
) -> None:
    for name in ("a", "b"):
        local.upload(name, numbers, policy)
    use_vault(local.directory, transit)
    transit.left = answered  # three requests try the key, one wraps each table key
    if answered < 5:
        with pytest.raises(KeysUnavailable):
            rotate_key(local.directory)
    else:
        rotate_key(local.directory)
    transit.left, transit.sealed = None, False
    assert local.tables() == ["a", "b"]
    done = rotate_key(local.directory)
    assert {kek_of(each) for each in wrapped(local).values()} == {done.key}
    assert not list(local.directory.glob("kek*"))
    assert local.tables() == ["a", "b"]


@pytest.mark.embedded("copies the files of one server at each step")
def test_rotation_killed_at_any_step_leaves_everything_readable_and_can_be_finished(
    local: LocalServer, numbers: pa.Table, policy: clf.Policy, copies: Path
) -> None:
    for name in ("plans", "visits"):
        local.upload(name, numbers, policy)
    local.close()
    killed = _kill("rotate-key", local.directory, copies)
    assert killed >= 18
    for number in range(1, killed + 2):
        copy = copies / str(number)
        assert readable(copy) == {"plans", "visits"}, number
        done = rotate_key(copy)
        assert readable(copy) == {"plans", "visits"}, number
        assert {kek_of(each) for each in wrapped_in(copy).values()} == {done.key}
        assert [path.name for path in copy.glob("kek*")] == [f"kek-{done.key}.key"], number
        shutil.rmtree(copy)


def _kill(action: str, directory: Path, copies: Path) -> int:
    support = str(Path(clf_testing.__path__[0]).parent)
    return int(
        subprocess.run(
            [sys.executable, "-m", "clf_testing._dying_keys", action, directory, copies],
            env=os.environ | {"PYTHONPATH": support},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout
    )


@pytest.mark.embedded("copies the files of one server at each step")
def test_dropping_killed_at_any_step_destroys_the_key_first(
    local: LocalServer, numbers: pa.Table, policy: clf.Policy, copies: Path
) -> None:
    for name in ("plans", "visits"):
        local.upload(name, numbers, policy)
    version_id = local.state.metadata.table("plans").current.version_id
    key = wrapped(local)[version_id].rpartition(":")[2].encode()
    local.close()
    killed = _kill("drop", local.directory, copies)
    seen = set()
    for number in range(1, killed + 2):
        copy = copies / str(number)
        bytes_left = (copy / "objects" / version_id).exists()
        tables = readable(copy)  # opening the database rolls back what was not committed
        if "plans" in tables:
            assert bytes_left, number  # never a table without its bytes
        else:
            assert key not in (copy / METADATA_NAME).read_bytes(), number
            assert not (copy / "objects" / version_id).exists()  # swept at this start at the latest
        assert "visits" in tables
        seen.add(("plans" in tables, bytes_left))
        shutil.rmtree(copy)
    assert seen == {(True, True), (False, True), (False, False)}


def test_dropped_table_s_tickets_and_derived_versions_end_with_it(
    local: LocalServer, numbers: pa.Table, policy: clf.Policy
) -> None:
    local.upload("plans", numbers, policy)
    answer = local.control.delete("/v1/tables/plans", headers=local.bearer())
    assert answer.status_code == 204
    assert wrapped(local) == {}
    assert local.stored() == set()


def test_version_wrapped_while_a_rotation_ended_is_wrapped_again(
    local: LocalServer,
    numbers: pa.Table,
    policy: clf.Policy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrap = Keks.wrap
    rotated: list[object] = []

    def slow(keks: Keks, key: bytes, context: dict[str, object]) -> str:
        done = wrap(keks, key, context)
        if not rotated:  # between the upload's wrapping and its transaction
            rotated.append(None)
            rotated[0] = rotate_key(local.directory)
        return done

    monkeypatch.setattr(Keks, "wrap", slow)
    local.upload("plans", numbers, policy)
    assert local.tables() == ["plans"]
    local.close()
    assert readable(local.directory) == {"plans"}


def test_second_rotation_at_the_same_time_is_refused(
    local: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, go_on = threading.Event(), threading.Event()
    prepare = Keks.prepare

    def wait(*arguments: object) -> str:
        inside.set()
        assert go_on.wait(20)
        return prepare(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Keks, "prepare", wait)
    first = threading.Thread(target=rotate_key, args=(local.directory,))
    first.start()
    assert inside.wait(20)
    with pytest.raises(ConfigurationError, match="another rotation runs"):
        rotate_key(local.directory)
    go_on.set()
    first.join()
    assert rotate_key(local.directory).destroyed


def test_old_key_that_is_gone_stops_the_rotation_before_it_begins(local: LocalServer) -> None:
    (local.directory / "kek.key").unlink()
    with pytest.raises(ConfigurationError, match="backup"):
        rotate_key(local.directory)
    assert [entry.event for entry in local.audited()][-1:] != ["key.replaced"]


def test_rotation_beside_a_running_server_and_uploads(
    make_server: Callable[..., ServerProcess], numbers: pa.Table, policy: clf.Policy
) -> None:
    server = make_server("owner")
    connection = clf.connect(server.owner)
    names = [f"t{number}" for number in range(6)]

    def upload() -> None:
        for name in names:
            clf.share(numbers, name=name, policy=policy, to=connection, progress=False)

    thread = threading.Thread(target=upload)
    thread.start()
    for _ in range(2):
        done = CliRunner().invoke(
            server_commands, ["rotate-key", str(server.directory)], catch_exceptions=False
        )
        assert done.exit_code == 0
        assert "destroyed" in done.output
    thread.join()
    assert sorted(connection.tables()["name"]) == names
    keys = {kek_of(each) for each in wrapped_in(server.directory).values()}
    last = rotate_key(server.directory)
    assert {kek_of(each) for each in wrapped_in(server.directory).values()} == {last.key}
    assert len(keys) == 1
    server.stop()
    server.start()
    assert sorted(connection.tables()["name"]) == names
    connection.close()
