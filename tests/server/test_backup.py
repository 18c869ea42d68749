from __future__ import annotations

import shutil
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner

import clf_sdk as clf
from clf_sdk.errors import ConfigurationError, Malformed
from clf_sdk.protocol import Profile
from clf_server._administration import Administration
from clf_server._backup import make_backup, restore_backup
from clf_server._cli import server as command
from clf_testing import HandmadeEnclave, LocalServer, Simulation, job_input, make_job


@pytest.fixture
def enclave(
    simulation: Simulation, local: LocalServer, numbers: pa.Table, policy: clf.Policy
) -> HandmadeEnclave:
    local.upload("plans", numbers, policy)
    enclave = HandmadeEnclave(simulation, local, make_job([job_input(local.server_id, "plans")]))
    enclave.open()
    return enclave


def reopen(local: LocalServer, directory: Path) -> LocalServer:
    """Return the server of a restored directory, in this process; people have their profiles."""
    for profile in local.directory.glob("*.profile.json"):
        shutil.copy(profile, directory)
    other = LocalServer.__new__(LocalServer)
    vars(other).update(vars(local) | {"directory": directory, "directories": [directory]})
    other.restart()
    return other


def events(server: LocalServer) -> list[str]:
    return [entry.event for entry in server.audited()]


def resume(directory: Path) -> None:
    with Administration(directory) as administration:
        administration.resume()


@pytest.mark.embedded("a database that holds a server takes no second one")
def test_restored_server_is_the_same_one_and_goes_on_when_resumed(
    enclave: HandmadeEnclave, tmp_path: Path
) -> None:
    server = enclave.server
    before = events(server)
    made = make_backup(server.directory, tmp_path / "clinic.backup")
    assert (made.server, made.entries) == (server.server_id, len(before))
    server.close()

    restore_backup(tmp_path / "clinic.backup", tmp_path / "again")
    again = reopen(server, tmp_path / "again")
    assert again.server_id == server.server_id
    assert again.tables() == ["plans"]
    assert events(again) == [*before, "server.restored"]
    enclave.server, enclave.agreed = again, False
    assert enclave.ask().json()["code"] == "server_paused"
    resume(tmp_path / "again")
    answer = enclave.open()
    assert answer.session.grant.number == 1  # the run that was counted before
    headers = {"Authorization": f"CLF-Ticket {answer.access.blobs.ticket}"}
    version_id = answer.session.inputs[0].version_id
    assert again.data.get(f"/v1/blobs/{version_id}/0", headers=headers).status_code == 200
    again.close()


@pytest.mark.embedded("a replica's directory lies beside it")
def test_backup_is_private_and_never_overwrites(local: LocalServer, tmp_path: Path) -> None:
    file = tmp_path / "clinic.backup"
    make_backup(local.directory, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(ConfigurationError, match="exists already"):
        make_backup(local.directory, file)
    assert {path.name for path in tmp_path.iterdir()} == {"clinic", "clinic.backup"}


@pytest.mark.embedded("a database that holds a server takes no second one")
def test_restored_files_are_as_private_as_they_were(local: LocalServer, tmp_path: Path) -> None:
    make_backup(local.directory, tmp_path / "b")
    restore_backup(tmp_path / "b", tmp_path / "again")
    for path in local.directory.rglob("*"):
        # The write-ahead log is in the restored database already.
        if path.is_file() and not path.name.endswith((".lock", "-wal", "-shm", ".profile.json")):
            twin = tmp_path / "again" / path.relative_to(local.directory)
            assert stat.S_IMODE(twin.stat().st_mode) & 0o077 == 0, twin


def test_backup_holds_no_token(local: LocalServer, tmp_path: Path) -> None:
    make_backup(local.directory, tmp_path / "b")
    whole = (tmp_path / "b").read_bytes()
    for profile in local.directory.glob("*.profile.json"):
        token = Profile.load(profile).token
        assert token.encode() in profile.read_bytes()
        assert token.encode() not in whole


@pytest.mark.parametrize("place", [0.01, 0.3, 0.6, 0.9])
def test_backup_that_was_cut_or_changed_is_not_restored(
    enclave: HandmadeEnclave, tmp_path: Path, place: float
) -> None:
    file = tmp_path / "b"
    make_backup(enclave.server.directory, file)
    whole = file.read_bytes()
    cut, changed = tmp_path / "cut", tmp_path / "changed"
    cut.write_bytes(whole[: int(len(whole) * place)])
    with tarfile.open(file) as tar:  # a byte of the content of some file, not of the padding
        entries = [entry for entry in tar.getmembers() if entry.size > 1]
    entry = entries[int(len(entries) * place)]
    middle = entry.offset_data + entry.size // 2
    changed.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    for bad in (cut, changed):
        with pytest.raises(Malformed, match="not a whole backup"):
            restore_backup(bad, tmp_path / "again")
        assert not (tmp_path / "again").exists()


def test_restore_leaves_a_directory_that_holds_something_alone(
    local: LocalServer, tmp_path: Path
) -> None:
    make_backup(local.directory, tmp_path / "b")
    with pytest.raises(ConfigurationError, match="is not empty"):
        restore_backup(tmp_path / "b", local.directory)


def test_what_leads_out_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    with tarfile.open(tmp_path / "b", "w") as tar:
        tar.add(tmp_path / "x", "../escaped")
    with pytest.raises(Malformed):
        restore_backup(tmp_path / "b", tmp_path / "deep" / "again")
    assert not (tmp_path / "escaped").exists()


@pytest.mark.embedded("a database that holds a server takes no second one")
def test_commands_say_what_they_did(local: LocalServer, tmp_path: Path) -> None:
    file, again = str(tmp_path / "b"), str(tmp_path / "again")
    made = CliRunner().invoke(command, ["backup", str(local.directory), file])
    assert made.exit_code == 0, made.output
    assert local.server_id in made.output
    done = CliRunner().invoke(command, ["restore", file, again, "--set", "port=5555"])
    assert done.exit_code == 0, done.output
    assert "it is paused" in done.output
    assert "port=5555" in (tmp_path / "again" / "clf_server.conf").read_text()


def test_one_process_becomes_replicas_by_backup_and_restore_and_back(
    enclave: HandmadeEnclave,
    make_shared: Callable[[], dict[str, str]],
    tmp_path: Path,
) -> None:
    server, shared = enclave.server, make_shared()
    before = server.audited()
    make_backup(server.directory, tmp_path / "one")
    restore_backup(tmp_path / "one", tmp_path / "many", settings=shared)
    replicas = reopen(server, tmp_path / "many")
    assert replicas.state.metadata.shared
    assert replicas.tables() == ["plans"]
    assert replicas.audited()[: len(before)] == before
    replicas.state.nonces.issue()
    make_backup(tmp_path / "many", tmp_path / "two")
    with pytest.raises(ConfigurationError, match="holds a server already"):
        restore_backup(tmp_path / "two", tmp_path / "twice")

    restore_backup(tmp_path / "two", tmp_path / "alone", settings=dict.fromkeys(shared, ""))
    alone = reopen(server, tmp_path / "alone")
    assert not alone.state.metadata.shared
    assert alone.tables() == ["plans"]
    assert alone.audited()[: len(before)] == before
    assert alone.sql("SELECT count(*) FROM nonces") == [(0,)]
    for made in (replicas, alone):
        made.close()
