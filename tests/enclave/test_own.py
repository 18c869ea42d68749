"""Programs of one's own, and the files that they read, at a real server."""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

import clf_enclave
import clf_sdk as clf
from clf_enclave import OpenRun
from clf_sdk._cli import main
from clf_sdk.attestation import TrustAnchor
from clf_sdk.audit import RemoteLog
from clf_sdk.errors import InvalidInput, NotFound, PolicyRefused, SealBroken
from clf_sdk.protocol import InputNode, JobDocument
from clf_sdk.sealed import FILE_GROUP_BYTES
from clf_testing import (
    Owner,
    Simulation,
    allowed_enclave,
    job_input,
    make_job,
    run_request,
)

Connect = Callable[..., clf.Connection]
SECRET = b"\x00for pinned programs only\xff"


def packed() -> bytes:
    """Return an archive of more than one row group, with texts that can be looked for."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("noise", random.Random(1).randbytes(FILE_GROUP_BYTES))  # noqa: S311 - no secret
        archive.writestr("letter.txt", "Sehr geehrte Frau Doktor")
    return buffer.getvalue()


CONTENT = packed()


@pytest.fixture(scope="module")
def archive(
    make_owner: Callable[..., Owner],
    simulation: Simulation,
    tmp_path_factory: pytest.TempPathFactory,
) -> Owner:
    secret = tmp_path_factory.mktemp("secret") / "value"
    secret.write_bytes(SECRET)
    secret.chmod(0o600)
    pin = {"MRSigner": simulation.platform.mrsigner, "isv_prod_id": "1", "isv_svn": "1"}
    return make_owner("archive", settings=pin | {"secret_file": str(secret)})


@pytest.fixture(scope="module")
def shared(archive: Owner, simulation: Simulation, numbers: pa.Table) -> Iterator[clf.SharedTable]:
    policy = simulation.policy_with(operations=["summary"], release="at_once", smallest_group=5)
    connection = clf.connect(archive.owner)
    clf.share(numbers, name="plans", policy=policy, to=connection)
    yield clf.share(CONTENT, name="letters", policy=policy, to=connection, as_file=True)
    connection.close()


def job_on(
    owner: Owner, *tables: str, reader: clf.Identity | None = None, **more: Any
) -> JobDocument:
    names = tables or ("letters",)
    align = {} if len(names) > 1 else {"align": InputNode(kind="input", input=names[0])}
    return make_job(
        [job_input(owner.server, name) for name in names],
        operation="summary",
        parameters={},
        recipients=None if reader is None else [reader.public],
        **(align | more),
    )


@pytest.fixture
def open_run(archive: Owner, simulation: Simulation) -> Callable[..., OpenRun]:
    def opened(job: JobDocument, **options: Any) -> OpenRun:
        archive.agree(job)
        request = run_request(job, [archive.endpoint])
        return OpenRun(request, simulation.provider(), lambda _event, _details: None, **options)

    return opened


def test_a_file_is_described_as_one(shared: clf.SharedTable) -> None:
    assert shared.is_file
    assert f"file of {len(CONTENT):,} bytes" in repr(shared)
    assert "File" in shared._repr_html_()
    assert not shared.connection.table("plans").is_file
    assert shared.connection.table("letters").rows == len(CONTENT)


@pytest.mark.usefixtures("shared")
def test_ranges_are_read_and_only_what_they_touch_is_pulled(
    archive: Owner, open_run: Callable[..., OpenRun]
) -> None:
    run = open_run(job_on(archive))
    assert run.size("letters") == len(CONTENT)
    border = FILE_GROUP_BYTES
    assert run.read("letters", border + 5, 10) == CONTENT[border + 5 : border + 15]
    pull = run._pull("letters")
    assert pull.pulled_bytes < FILE_GROUP_BYTES  # the last row group, which is small
    for offset, length in [(0, 4), (border - 3, 7), (0, len(CONTENT)), (7, 0)]:
        assert run.read("letters", offset, length) == CONTENT[offset : offset + length]
    end = len(CONTENT)
    assert run.read("letters", end - 4, 100) == CONTENT[-4:]
    assert run.read("letters", end, 1) == run.read("letters", end + 10, 1) == b""
    for offset, length in [(-1, 1), (0, -1)]:
        with pytest.raises(InvalidInput):
            run.read("letters", offset, length)
    # It is a file like any other, too.
    with zipfile.ZipFile(io.BufferedReader(run.file("letters"))) as opened:
        assert opened.read("letter.txt") == b"Sehr geehrte Frau Doktor"


@pytest.mark.usefixtures("shared")
def test_tables_and_unknown_inputs_are_no_files(
    archive: Owner, open_run: Callable[..., OpenRun], numbers: pa.Table
) -> None:
    run = open_run(job_on(archive, "plans"))
    assert run.table("plans").equals(numbers)
    assert run.entity("plans") is None
    assert run.size("plans") == len(numbers)
    with pytest.raises(InvalidInput, match="a table, not a file"):
        run.read("plans", 0, 1)
    for call in (run.size, run.file, run.table, run.secret):
        with pytest.raises(NotFound, match="no input 'other'"):
            call("other")


def test_ciphertext_that_was_changed_is_not_read(
    shared: clf.SharedTable, archive: Owner, open_run: Callable[..., OpenRun]
) -> None:
    (version,) = {shared.description.version_id} & archive.stored()
    path = archive.directory / "objects" / version / "0"
    sealed = path.read_bytes()
    assert b"Sehr geehrte" not in sealed
    run = open_run(job_on(archive))
    try:
        path.write_bytes(sealed[:-1] + bytes([sealed[-1] ^ 1]))
        with pytest.raises(SealBroken):
            run.read("letters", 0, 1)
        # The other row group is what it was.
        assert run.read("letters", FILE_GROUP_BYTES, 4) == CONTENT[FILE_GROUP_BYTES:][:4]
    finally:
        path.write_bytes(sealed)


@pytest.mark.usefixtures("shared")
def test_a_program_gets_the_key_it_asks_for_and_no_other(
    archive: Owner, open_run: Callable[..., OpenRun]
) -> None:
    run = open_run(job_on(archive), secrets={"letters": ["secret"]})
    assert run.secret("letters") == SECRET
    with pytest.raises(NotFound, match="opened without secret 'other'"):
        run.secret("letters", "other")
    with pytest.raises(NotFound, match="no input 'nothing'"):
        open_run(job_on(archive), secrets={"nothing": ["secret"]})


@pytest.mark.usefixtures("shared")
def test_another_program_gets_nothing(archive: Owner, simulation: Simulation) -> None:
    job = job_on(archive)
    archive.agree(job)
    request = run_request(job, [archive.endpoint])
    with pytest.raises(clf.ClfError) as caught:
        OpenRun(request, simulation.provider(mrenclave="cd" * 32), lambda _e, _d: None)
    assert caught.value.code == "measurement_mismatch"


@pytest.mark.usefixtures("shared")
def test_rules_of_owners_bind_the_results_of_ones_own_program(
    archive: Owner, open_run: Callable[..., OpenRun]
) -> None:
    run = open_run(job_on(archive))
    assert run.rules.smallest_group == 5
    for people in (0, 4):
        with pytest.raises(PolicyRefused) as caught:
            run.put({"found": {"n": people}}, people=people)
        assert caught.value.rule == "smallest_group"
    with pytest.raises(PolicyRefused) as caught:
        open_run(job_on(archive), row_level=["found"])
    assert caught.value.rule == "row_level"


@pytest.mark.parametrize("asked", [True, False])
def test_larger_groups_demanded_after_ones_own_program_asked_end_its_run(
    shared: clf.SharedTable,
    archive: Owner,
    open_run: Callable[..., OpenRun],
    simulation: Simulation,
    asked: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    run = open_run(job_on(archive, "letters", "plans"))
    if asked:
        assert run.rules.smallest_group == 5
    options = {"operations": ["summary"], "release": "at_once"}
    tight = simulation.policy_with(smallest_group=50, **options)
    shared.connection.set_policy("letters", tight)
    try:
        # What it still pulls opens a session anew, which brings the new rule.
        assert run.read("letters", 0, 1) == CONTENT[:1]
        with pytest.raises(PolicyRefused) as caught:
            run.put({"found": {"n": 1}}, people=100 if asked else 49)
        assert caught.value.rule == "smallest_group"
    finally:
        loose = simulation.policy_with(smallest_group=5, **options)
        shared.connection.set_policy("letters", loose, widen=True)


def test_own_program_learns_by_what_its_owner_tells_people_apart(
    shared: clf.SharedTable,
    archive: Owner,
    open_run: Callable[..., OpenRun],
    simulation: Simulation,
    numbers: pa.Table,
) -> None:
    policy = simulation.policy_with(operations=["summary"], entity="id", columns=["x"])
    clf.share(numbers, name="visits", policy=policy, to=shared.connection)
    run = open_run(
        make_job(
            [job_input(archive.server, "visits", columns=["x"])],
            operation="summary",
            parameters={},
            align=InputNode(kind="input", input="visits"),
        )
    )
    assert run.entity("visits") == "id"
    assert run.table("visits")["id"].equals(numbers["id"])


PROGRAM = """
import sys
from pathlib import Path

import clf_enclave


def summarise(run):
    head = run.read("letters", 0, 4)
    found = {"head": head.decode("latin1"), "size": run.size("letters")}
    run.put({"summary": found}, people=run.table("plans").num_rows)


if __name__ == "__main__":
    request, simulation = map(Path, sys.argv[1:])
    here = Path(__file__).parent
    sys.exit(clf_enclave.execute(summarise, request, package=here, insecure_simulation=simulation))
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "summary"
    folder.mkdir()
    (folder / "summary.py").write_text(PROGRAM)
    return folder


@pytest.fixture
def request_of(archive: Owner, tmp_path: Path) -> Callable[..., Path]:
    """Write a run request for a program of that measurement, which the owner agreed to."""

    def make(measurement: str, reader: clf.Identity) -> Path:
        enclave = allowed_enclave(mrenclave=measurement)
        tables = [{"kind": "input", "input": name} for name in ("letters", "plans")]
        align = {"kind": "union", "of": tables, "source": None}
        job = job_on(archive, "letters", "plans", align=align, enclave=enclave, reader=reader)
        archive.agree(job)
        path = tmp_path / "request.json"
        path.write_bytes(run_request(job, [archive.endpoint]).canonical())
        return path

    return make


def test_own_program_from_share_to_fetch(
    archive: Owner,
    connect: Connect,
    simulation: Simulation,
    shared: clf.SharedTable,
    package: Path,
    request_of: Callable[..., Path],
    tmp_path: Path,
) -> None:
    (tmp_path / "policy.json").write_text(json.dumps(shared.description.policy))
    (tmp_path / "letters.zip").write_bytes(CONTENT)
    profile = tmp_path / "owner.profile.json"
    archive.owner.save(profile)
    command = ["share", str(tmp_path / "letters.zip"), "--as-file", "--name", "letters"]
    command += ["--profile", str(profile), "--policy", str(tmp_path / "policy.json")]
    shown = CliRunner().invoke(main, command, catch_exceptions=False)
    assert json.loads(shown.stdout)["bytes"] == len(CONTENT), shown.output

    reader = clf.Identity.create()
    path = request_of(clf_enclave.program_measurement(package), reader)
    done = subprocess.run(
        [sys.executable, str(package / "summary.py"), str(path), str(simulation.directory)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert json.loads(done.stdout.splitlines()[-1])["event"] == "delivered", done
    request = json.loads(path.read_bytes())
    connection = connect(archive)
    anchor = TrustAnchor.insecure_simulation(simulation.anchor)
    result = clf.fetch(request["run"], connections=[connection], identity=reader, anchor=anchor)
    assert result.outputs["summary"] == {"head": "PK\x03\x04", "size": len(CONTENT)}
    assert result.receipt.inputs[0].rows == len(CONTENT)
    logged = RemoteLog(connection.http, connection.server).tail(20)
    events = {entry.event: entry.details for entry in logged}
    assert events["table.shared"]["table"] == "letters"
    granted = events["session.granted"]["inputs"]
    assert [each["table"] for each in granted] == ["letters", "plans"]


@pytest.mark.usefixtures("shared")
def test_what_a_program_raises_does_not_get_out(
    simulation: Simulation,
    package: Path,
    request_of: Callable[..., Path],
    capfd: pytest.CaptureFixture[str],
) -> None:
    def leak(run: OpenRun) -> None:
        raise ValueError(run.read("letters", 0, 30))

    path = request_of(clf_enclave.program_measurement(package), clf.Identity.create())
    status = clf_enclave.execute(
        leak, path, package=package, insecure_simulation=simulation.directory
    )
    shown = capfd.readouterr()
    assert status == 1
    assert json.loads(shown.out.splitlines()[-1])["message"] == (
        "the program failed with ValueError"
    )
    assert "noise" not in shown.out + shown.err
    assert clf_enclave.execute(leak, package / "no.json", package=package) == 1
    assert "can't be read" in capfd.readouterr().out
