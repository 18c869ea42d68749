"""Two replicas on a real PostgreSQL and a real S3-compatible store: what one knows, both know."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_sdk.errors import ConfigurationError, NonceRefused, StorageUnavailable, TicketRefused
from clf_server._provision import create_server
from clf_server._rotate_key import rotate_key
from clf_testing import (
    HandmadeEnclave,
    LocalServer,
    PostgreSQL,
    SealedUpload,
    Sender,
    Simulation,
    Store,
    job_input,
    make_job,
)

Refused = Callable[[Any], tuple[int, str]]


@pytest.fixture
def replicas(
    make_local: Callable[..., LocalServer], make_shared: Callable[[], dict[str, str]]
) -> LocalServer:
    """Return a server that is two replicas; each request reaches the next one."""
    made = make_local("shared", shared=make_shared())
    assert len(made.states) == 2
    return made


@pytest.fixture
def enclave(
    simulation: Simulation, replicas: LocalServer, numbers: pa.Table, policy: clf.Policy
) -> HandmadeEnclave:
    replicas.upload("plans", numbers, policy)
    return HandmadeEnclave(simulation, replicas, make_job([job_input(replicas.server_id, "plans")]))


def test_nonce_of_one_replica_is_used_up_for_all(replicas: LocalServer) -> None:
    first, second = (state.nonces for state in replicas.states)
    nonce = first.issue()
    second.consume(nonce)
    for nonces in (first, second):
        with pytest.raises(NonceRefused):
            nonces.consume(nonce)


def test_nonce_is_taken_once_however_many_try(replicas: LocalServer) -> None:
    nonce, barrier = replicas.state.nonces.issue(), threading.Barrier(16)

    def take(number: int) -> bool:
        barrier.wait()
        try:
            replicas.states[number % 2].nonces.consume(nonce)
        except NonceRefused:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(take, range(16))) == 1


def test_nonce_dies_after_a_minute(replicas: LocalServer) -> None:
    nonce = replicas.state.nonces.issue()
    replicas.clock.now += 61
    with pytest.raises(NonceRefused):
        replicas.states[1].nonces.consume(nonce)
    replicas.state.nonces.issue()
    assert replicas.sql("SELECT count(*) FROM nonces") == [(1,)]


def test_grant_is_exact_under_parallel_sessions(
    simulation: Simulation, enclave: HandmadeEnclave
) -> None:
    server, runs = enclave.server, 7
    server.submit(enclave.job)
    assert server.approve(enclave.job, runs=runs).status_code == 200
    enclaves = [HandmadeEnclave(simulation, server, enclave.job, agreed=False) for _ in range(50)]
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda each: each.ask(), enclaves))
    codes = Counter(
        "granted" if answer.status_code == 200 else answer.json()["code"] for answer in answers
    )
    assert codes == {"granted": runs, "grant_used_up": 50 - runs}
    numbers = [
        answer.json()["session"]["grant"]["number"]
        for answer in answers
        if answer.status_code == 200
    ]
    assert sorted(numbers) == list(range(1, runs + 1))
    granted = [entry for entry in server.audited() if entry.event == "session.granted"]
    assert len(granted) == runs


def test_run_goes_from_one_replica_to_the_other(enclave: HandmadeEnclave) -> None:
    """Challenge, session, every blob and every result object reach another replica."""
    answer = enclave.open()
    ticket = answer.access.blobs.ticket
    version_id = answer.session.inputs[0].version_id
    path = f"/v1/blobs/{version_id}/0"
    headers = {"Authorization": f"CLF-Ticket {ticket}"}
    whole = [enclave.server.data.get(path, headers=headers) for _ in range(2)]
    assert [each.status_code for each in whole] == [200, 200]
    assert whole[0].content == whole[1].content
    part = enclave.server.data.get(path, headers=headers | {"Range": "bytes=5-9"})
    assert (part.status_code, part.content) == (206, whole[0].content[5:10])


def test_ticket_ends_at_all_replicas_when_the_policy_changes(
    enclave: HandmadeEnclave, policy: clf.Policy
) -> None:
    answer = enclave.open()
    secret = answer.access.blobs.ticket
    for state in enclave.server.states:
        state.tickets.check(secret)
    tighter = clf.Policy.from_json(policy.to_json() | {"smallest_group": 3})
    assert enclave.server.set_policy("plans", tighter).status_code == 200
    for state in enclave.server.states:
        with pytest.raises(TicketRefused):
            state.tickets.check(secret)


def test_reviewed_result_may_be_sealed_for_another_replica(
    simulation: Simulation, replicas: LocalServer, numbers: pa.Table
) -> None:
    replicas.upload("plans", numbers, simulation.policy_with(release="review"))
    job = make_job([job_input(replicas.server_id, "plans")])
    sender = Sender(HandmadeEnclave(simulation, replicas, job), reviewers=[replicas.server_id])
    sender.put_all()
    assert sender.finish().status_code == 204
    assert sender.visible() == [sender.output.signed.envelope.version_id]


def test_upload_may_reach_another_replica_with_each_object(
    replicas: LocalServer, policy: clf.Policy
) -> None:
    table = pa.table({"id": range(1000)})
    sealed = replicas.seal("t", table, policy, target_bytes=2000)
    assert len(sealed.objects) > 4
    replicas.put_all(sealed)
    again = replicas.put(sealed.ticket, "0", sealed.objects["0"])
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    assert replicas.commit(sealed).status_code == 200
    assert replicas.stored() == {sealed.ticket.version_id}
    assert replicas.commit(sealed).json()["code"] == "not_found"


def test_upload_that_stands_still_is_forgotten_and_its_space_reclaimed(
    replicas: LocalServer, numbers: pa.Table, policy: clf.Policy
) -> None:
    sealed = replicas.seal("t", numbers, policy)
    replicas.put(sealed.ticket, "0", sealed.objects["0"])
    assert replicas.stored() == {sealed.ticket.version_id}
    replicas.clock.now += 121
    other = replicas.seal("u", numbers, policy)
    assert replicas.stored() == set()
    assert replicas.put(sealed.ticket, "manifest", b"").json()["code"] == "ticket_refused"
    replicas.put_all(other)
    assert replicas.commit(other).status_code == 200


def test_upload_limit_counts_over_all_replicas(replicas: LocalServer, policy: clf.Policy) -> None:
    for _ in range(64):
        replicas.announce("t", policy)
    body = {"table": "t", "policy": policy.to_json(), "widen": False}
    answer = replicas.control.post("/v1/uploads", json=body, headers=replicas.bearer())
    assert answer.json()["code"] == "conflict"


def test_starting_replica_leaves_alone_what_arrives_at_another(
    replicas: LocalServer, numbers: pa.Table, policy: clf.Policy
) -> None:
    sealed = replicas.seal("t", numbers, policy)
    replicas.put_all(sealed)
    replicas.close()
    replicas.restart()
    assert replicas.commit(sealed).status_code == 200
    assert replicas.tables() == ["t"]


def test_filtered_rows_are_sealed_once_for_all(
    simulation: Simulation, replicas: LocalServer, numbers: pa.Table
) -> None:
    replicas.upload("plans", numbers, simulation.policy_with(rows="id >= 2"))
    job = make_job([job_input(replicas.server_id, "plans")])
    replicas.agree(job)
    enclaves = [HandmadeEnclave(simulation, replicas, job) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        sessions = list(pool.map(lambda each: each.open().session, enclaves))
    assert len({session.inputs[0].version_id for session in sessions}) == 1
    assert len(replicas.stored()) == 2


def test_second_server_in_the_same_database_is_refused(
    replicas: LocalServer,
) -> None:
    assert replicas.shared is not None
    second = replicas.directory.with_name("second")
    with pytest.raises(ConfigurationError, match="holds a server already"):
        create_server(second, name="second", settings=replicas.shared)
    assert not second.exists()


# -- when what they share does not answer ----------------------------------------------------------


def test_database_that_restarts_loses_nothing_that_was_said(
    enclave: HandmadeEnclave, postgresql: PostgreSQL, numbers: pa.Table, policy: clf.Policy
) -> None:
    server = enclave.server
    session = enclave.open().session
    sealed = server.seal("later", numbers, policy)
    server.put(sealed.ticket, "0", sealed.objects["0"])
    before = [entry.event for entry in server.audited()]

    postgresql.stop()
    try:
        for answer in (
            server.put(sealed.ticket, "manifest", sealed.objects["manifest"]),
            server.commit(sealed),
            server.control.post("/v1/challenges"),
            server.control.get("/v1/tables", headers=server.bearer()),
        ):
            assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")
    finally:
        postgresql.start()

    assert [entry.event for entry in server.audited()] == before
    assert enclave.open().session.run == session.run  # the run goes on, in a session of its own
    server.put(sealed.ticket, "manifest", sealed.objects["manifest"])
    assert server.commit(sealed).status_code == 200
    assert server.tables() == ["later", "plans"]


@pytest.mark.usefixtures("store")  # credentials
def test_store_that_does_not_answer_publishes_nothing_and_loses_nothing(
    make_local: Callable[..., LocalServer],
    simulation: Simulation,
    postgresql: PostgreSQL,
    numbers: pa.Table,
    policy: clf.Policy,
) -> None:
    own = Store()  # this one dies for good
    settings = {
        "database_url": postgresql.create_database(),
        "object_store": own.create_prefix(),
    }
    server = make_local("lossy", shared=settings)
    server.upload("kept", numbers, policy)
    sealed: SealedUpload = server.seal("t", numbers, policy)
    job = make_job([job_input(server.server_id, "kept")])
    sender = Sender(HandmadeEnclave(simulation, server, job))
    granted, access = sender.session.session.inputs[0], sender.session.access
    own.close()
    with ThreadPoolExecutor() as pool:  # each waits for the store for a while
        asked = [
            pool.submit(server.put, sealed.ticket, "0", sealed.objects["0"]),
            pool.submit(
                server.data.get,
                f"/v1/blobs/{granted.version_id}/0",
                headers={"Authorization": f"CLF-Ticket {access.blobs.ticket}"},
            ),
            pool.submit(sender.put),
        ]
        for answer in [each.result() for each in asked]:
            assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")
    assert sender.visible() == []
    assert sender.enclave.open().session.inputs[0] == granted  # a session needs no object
    with pytest.raises(StorageUnavailable):
        server.state.objects.ping()
    assert server.control.get("/readyz").status_code == 503
    assert server.sql("SELECT name FROM tables") == [("kept",)]


def test_key_that_one_replica_s_operator_rotated_opens_tables_at_all(
    make_local: Callable[..., LocalServer],
    make_shared: Callable[[], dict[str, str]],
    numbers: pa.Table,
    policy: clf.Policy,
    tmp_path: Path,
) -> None:
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)
    replicas = make_local("rotated", shared=make_shared() | {"key_directory": str(keys)})
    shared = replicas.upload("plans", numbers, policy)
    wrapped = replicas.sql("SELECT table_key FROM versions")
    assert rotate_key(replicas.directories[0]).rewrapped == 1
    assert replicas.sql("SELECT table_key FROM versions") != wrapped
    # Asked of one and of the other; each opens the manifest, or makes a key.
    for _ in replicas.states:
        answer = replicas.control.get("/v1/tables", headers=replicas.bearer())
        assert [table["version"] for table in answer.json()["tables"]] == [shared["version"]]
    for name in ("a", "b"):
        replicas.upload(name, numbers, policy)
    replicas.close()
    replicas.restart()
    assert replicas.tables() == replicas.tables() == ["a", "b", "plans"]
