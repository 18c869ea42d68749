"""Servers that are killed: nothing half-visible, space reclaimed, the client told what to do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_sdk._server_process import ServerProcess
from clf_sdk.errors import TransportError
from clf_testing import (
    Simulation,
    admit,
    agree,
    endpoint_of,
    execute,
    job_input,
    make_job,
    the_analyst,
)


def test_killed_in_the_middle_of_an_upload(
    make_server: Callable[..., ServerProcess], numbers: pa.Table, policy: clf.Policy
) -> None:
    server = make_server("owner")
    connection = clf.connect(server.owner)
    kept = clf.share(numbers, name="t", policy=policy, to=connection)
    objects = server.directory / "objects"
    before = {path.name for path in objects.iterdir()}
    schema = pa.schema([("x", pa.float64())])

    def batches() -> Iterator[pa.RecordBatch]:
        block = pa.array([0.5] * (1 << 20))
        for number in range(64):
            if number == 16:
                while {path.name for path in objects.iterdir()} == before:
                    threading.Event().wait(0.01)  # until something of the upload is on disk
                server.kill()
            yield pa.record_batch([block], schema=schema)

    frame = pa.RecordBatchReader.from_batches(schema, batches())
    with pytest.raises(TransportError) as caught:
        clf.share(frame, name="t", policy=policy, to=connection)
    assert caught.value.hint
    connection.close()

    server.start()
    connection = clf.connect(server.owner)
    assert connection.table("t").version == kept.version
    assert {path.name for path in objects.iterdir()} == before
    connection.close()


def test_killed_in_the_middle_of_a_pull(
    make_server: Callable[..., ServerProcess],
    simulation: Simulation,
    numbers: pa.Table,
    policy: clf.Policy,
) -> None:
    server = make_server("owner")
    connection = clf.connect(server.owner)
    clf.share(numbers, name="t", policy=policy, to=connection)
    job = make_job([job_input(server.owner.server, "t")])
    profile = admit(server.directory, the_analyst().public, label="analyst")
    agree(job, owner=server.owner, analyst=profile)
    provider = simulation.provider()

    class KillAfterSession(list[dict[str, object]]):
        def append(self, event: dict[str, object]) -> None:
            super().append(event)
            if event["event"] == "session":
                server.kill()

    events = KillAfterSession()
    with pytest.raises(TransportError) as caught:
        execute(job, [endpoint_of(server.owner)], provider, events=events)
    assert caught.value.hint
    connection.close()

    server.start()
    execute(job, [endpoint_of(server.owner)], provider)
