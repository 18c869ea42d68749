"""A data directory that is full, on a real file system of a few megabytes."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_testing import HandmadeEnclave, LocalServer, Simulation, job_input, make_job

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)]
    mounted = subprocess.run(
        ["mount", *options],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S607


def fill(folder: Path) -> Path:
    """Leave not a byte."""
    path = folder / "fill"
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 512):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return path


def test_full_directory_refuses_by_name_loses_nothing_and_goes_on_when_there_is_space(
    small: Path, simulation: Simulation, numbers: pa.Table
) -> None:
    server = LocalServer(small / "clinic", anchor=simulation.anchor, now=time.time() + 60)
    policy = simulation.policy
    server.upload("plans", numbers, policy)
    enclave = HandmadeEnclave(simulation, server, make_job([job_input(server.server_id, "plans")]))
    session = enclave.open()
    entries = len(server.audited())

    # More than there is space for: nothing of it stays.
    big = server.seal("big", pa.table({"n": pa.array(range(1 << 20))}), policy)
    answers = [server.put(big.ticket, name, data) for name, data in big.objects.items()]
    assert {(each.status_code, each.json()["code"]) for each in answers if each.content} == {
        (507, "storage_full")
    }
    assert server.commit(big).status_code != 200
    server.control.delete(f"/v1/uploads/{big.ticket.upload}", headers=server.bearer())
    assert len(server.stored()) == 1

    # Not a byte is left: what needs a durable decision is refused, reading goes on.
    filler = fill(small)
    refused = [
        server.set_policy("plans", clf.Policy.from_json(policy.to_json() | {"runs": 1})),
        enclave.another(make_job([job_input(server.server_id, "plans")])).ask(),
    ]
    assert {answer.json()["code"] for answer in refused} <= {"storage_full", "job_not_approved"}
    blob = f"/v1/blobs/{session.session.inputs[0].version_id}/0"
    ticket = {"Authorization": f"CLF-Ticket {session.access.blobs.ticket}"}
    assert server.data.get(blob, headers=ticket).status_code == 200
    assert server.tables() == ["plans"]

    filler.unlink()
    assert len(server.audited()) >= entries
    assert enclave.open().session.run == session.session.run
    server.upload("later", numbers, policy)
    server.close()
    server.restart()
    assert server.tables() == ["later", "plans"]
    server.close()
