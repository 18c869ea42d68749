"""What a table meets on its way to the server: changed bytes, and a disk that is full."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_sdk._server_process import ServerProcess
from clf_sdk.errors import SealBroken, StorageFull, TicketRefused
from clf_testing import Exchange, Owner, Simulation, execute, job_input, make_job

Connect = Callable[..., clf.Connection]


def _flip(exchange: Exchange) -> None:
    middle = len(exchange.request) // 2
    changed = bytearray(exchange.request)
    changed[middle] ^= 1
    exchange.request = bytes(changed)


def test_object_changed_on_its_way_up_never_opens(
    clinic: Owner,
    connect: Connect,
    simulation: Simulation,
    numbers: pa.Table,
    policy: clf.Policy,
) -> None:
    def attack(exchange: Exchange) -> None:
        if exchange.path.endswith("/0"):
            _flip(exchange)

    with clinic.data.attacked(before=attack) as network:
        clf.share(numbers, name="altered", policy=policy, to=connect(clinic))
    assert [entry.method for entry in network.seen] == ["PUT", "PUT"]
    job = make_job([job_input(clinic.server, "altered")])
    with pytest.raises(SealBroken):
        execute(job, [clinic.endpoint], simulation.provider(), agreed=[clinic])


def test_manifest_changed_on_its_way_up_publishes_nothing(
    clinic: Owner, connect: Connect, numbers: pa.Table, policy: clf.Policy
) -> None:
    def attack(exchange: Exchange) -> None:
        if exchange.path.endswith("/manifest"):
            _flip(exchange)

    connection = connect(clinic)
    before = clinic.stored()
    with clinic.data.attacked(before=attack), pytest.raises(SealBroken):
        clf.share(numbers, name="never", policy=policy, to=connection)
    assert "never" not in set(connection.tables()["name"])
    assert clinic.stored() == before


def test_ticket_seen_on_the_way_up_writes_into_no_other_upload(
    clinic: Owner, connect: Connect, numbers: pa.Table, policy: clf.Policy
) -> None:
    """The one who reads the data plane sees ticket and ciphertext, and never token or key."""
    connection = connect(clinic)
    listener = f"http://127.0.0.2:{clinic.data.port}"
    with clinic.data.attacked() as network:
        clf.share(numbers, name="seen", policy=policy, to=connection)
    for entry in list(network.seen):
        assert clinic.owner.token not in str(entry.headers)
        ticket = entry.headers["Authorization"].removeprefix("CLF-Ticket ")
        with pytest.raises(TicketRefused):
            connection.http.put_object(entry.path, memoryview(b"x"), url=listener, ticket=ticket)


@pytest.fixture
def tiny_disk(
    make_server: Callable[..., ServerProcess],
) -> Iterator[ServerProcess]:
    """Return a server whose objects lie on a file system of 16 MiB."""
    server = make_server("owner")
    server.stop()
    objects = server.directory / "objects"
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m,mode=700", "tmpfs", str(objects)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a file system needs the right to do so")
    try:
        server.start()
        yield server
    finally:
        server.stop()
        subprocess.run(["umount", str(objects)], check=True)  # noqa: S607 - as the line above


def _noise(mib: int) -> pd.DataFrame:
    rows = mib << 17
    return pd.DataFrame({"id": np.arange(rows), "x": np.zeros(rows)})[["x"]]


def test_disk_that_is_really_full(
    tiny_disk: ServerProcess, numbers: pa.Table, policy: clf.Policy
) -> None:
    connection = clf.connect(tiny_disk.owner)
    objects: Path = tiny_disk.directory / "objects"
    kept = clf.share(numbers, name="t", policy=policy, to=connection)
    before = {path.name for path in objects.iterdir()}
    with pytest.raises(StorageFull) as caught:
        clf.share(_noise(64), name="t", policy=policy, to=connection)
    assert caught.value.hint
    assert {path.name for path in objects.iterdir()} == before
    assert connection.table("t").version == kept.version
    clf.share(_noise(4), name="t", policy=policy, to=connection)
    assert connection.table("t").rows == 4 << 17
    connection.close()
