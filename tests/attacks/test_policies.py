"""Policies under attack, with real servers and the enclave's own code on a hostile network."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from functools import partial
from typing import Any

import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_enclave import _run
from clf_enclave._pull import TablePull
from clf_enclave._session import OpenSession, RunIdentity, open_session
from clf_sdk.attestation import TrustAnchor
from clf_sdk.errors import (
    BindingMismatch,
    InvalidFilter,
    JobNotApproved,
    PolicyRefused,
    PolicyTampered,
    PolicyWidened,
    RunRefused,
    SealBroken,
)
from clf_sdk.keys import PrivateKey, SigningKey
from clf_sdk.policy import RULES
from clf_sdk.protocol import LEAST_MEMORY_BYTES
from clf_sdk.sealed import open_manifest, open_table
from clf_testing import Exchange, Owner, Simulation, execute, job_input, make_job

Connect = Callable[..., clf.Connection]
COUNT = 400


def changed(policy: clf.Policy, **changes: Any) -> clf.Policy:
    fields = {rule.name: getattr(policy, rule.name) for rule in RULES}
    return clf.Policy(**(fields | changes))


@pytest.fixture
def people() -> pa.Table:
    return pa.table(
        {
            "id": pa.array(range(COUNT), pa.int64()),
            "age": pa.array([number % 80 for number in range(COUNT)], pa.int16()),
            "x": [float(number % 7) for number in range(COUNT)],
            "y": [float(number % 7) + number % 3 for number in range(COUNT)],
            "note": [f"minor-{n}" if n % 80 < 18 else f"adult-{n}" for n in range(COUNT)],
        }
    )


@pytest.fixture
def identity(simulation: Simulation) -> Callable[..., RunIdentity]:
    def make(job: Any) -> RunIdentity:
        return RunIdentity(
            run=secrets.token_hex(16),
            job=job,
            hpke=PrivateKey.generate(),
            signing=SigningKey.generate(),
            provider=simulation.provider(),
        )

    return make


def test_rows_that_should_not_leave_are_in_nothing_that_the_enclave_receives(
    clinic: Owner,
    connect: Connect,
    people: pa.Table,
    policy: clf.Policy,
    identity: Callable[..., RunIdentity],
) -> None:
    adults = changed(policy, rows="age >= 18 AND note LIKE '%-%'")
    connection = connect(clinic)
    clf.share(people, name="filtered", policy=adults, to=connection)
    source = connection.table("filtered").description
    job = make_job([job_input(clinic.server, "filtered")])
    clinic.agree(job)
    with clinic.control.attacked() as control, clinic.data.attacked() as data:
        session = open_session(identity(job), clinic.relayed)
        table = TablePull("filtered", session, partial(_never, session)).table()
        received = {exchange.path.rsplit("/", 1)[1]: exchange.answer for exchange in data.seen}
        versions = {exchange.path.split("/")[3] for exchange in data.seen}
        said = b"".join(exchange.answer for exchange in control.seen)
    assert set(table["note"].to_pylist()) == {f"adult-{n}" for n in range(COUNT) if n % 80 >= 18}

    # Everything that came opens to adults only; nothing else came.
    (granted,) = session.session.inputs
    assert versions == {granted.version_id}
    assert source.version_id not in versions
    keys = session.keys["filtered"]
    manifest = open_manifest(
        received["manifest"],
        manifest_key=keys.manifest_key,
        table="filtered",
        version_id=granted.version_id,
        expected_version=granted.version,
    )
    sizes = {str(number): group.bytes for number, group in enumerate(manifest.row_groups)}
    opened = open_table(
        manifest, keys.columns, lambda name, start, stop: received[name][start:stop]
    )
    assert opened.equals(table)
    assert min(opened["age"].to_pylist()) == 18
    assert all(len(received[name]) <= size for name, size in sizes.items())
    assert b"minor-" not in said + b"".join(received.values())

    # The keys open nothing of the version with all rows, wherever its bytes come from.
    objects = clinic.directory / "objects" / source.version_id
    with pytest.raises(SealBroken):
        open_manifest(
            (objects / "manifest").read_bytes(),
            manifest_key=keys.manifest_key,
            table="filtered",
            version_id=source.version_id,
            expected_version=None,
        )
    whole = (objects / "0").read_bytes()
    for column in people.column_names:
        with pytest.raises((SealBroken, IndexError)):
            open_table(manifest, keys.columns, lambda _, start, stop: whole[start:stop], [column])


def _never(session: OpenSession) -> OpenSession:
    raise AssertionError(f"{session!r} was not to be renewed")


def test_result_is_that_of_the_rows_that_may_leave(
    clinic: Owner,
    insurer: Owner,
    connect: Connect,
    people: pa.Table,
    policy: clf.Policy,
    simulation: Simulation,
) -> None:
    left, right = people.select(["id", "age", "x"]), people.select(["id", "y"])
    clf.share(left, name="left", policy=changed(policy, rows="age >= 18"), to=connect(clinic))
    clf.share(right, name="right", policy=changed(policy, rows="id < 300"), to=connect(insurer))
    reader = clf.Identity.create()
    inputs = [
        job_input(clinic.server, "left", columns=["id", "x"]),
        job_input(insurer.server, "right"),
    ]
    job = make_job(inputs, recipients=[reader.public])
    endpoints = [clinic.endpoint, insurer.endpoint]
    run = execute(job, endpoints, simulation.provider(), agreed=[clinic, insurer])
    connections = [connect(clinic), connect(insurer)]
    anchor = TrustAnchor.insecure_simulation(simulation.anchor)
    result = clf.fetch(run.run, connections=connections, identity=reader, anchor=anchor)
    expected = sum(1 for number in range(300) if number % 80 >= 18)
    assert result.to_pandas("fit")["rows"].tolist() == [expected]


@pytest.mark.parametrize(("smallest", "allowed"), [(300, True), (301, False)])
def test_owner_with_the_largest_smallest_group_decides(
    clinic: Owner,
    insurer: Owner,
    connect: Connect,
    people: pa.Table,
    policy: clf.Policy,
    simulation: Simulation,
    smallest: int,
    *,
    allowed: bool,
) -> None:
    few = changed(policy, rows="id < 300", smallest_group=2)
    many = changed(policy, smallest_group=smallest)
    name = f"group-{smallest}"
    clf.share(people.select(["id", "x"]), name=name, policy=few, to=connect(clinic))
    clf.share(people.select(["id", "y"]), name=name, policy=many, to=connect(insurer))
    inputs = [job_input(clinic.server, name, name="a"), job_input(insurer.server, name, name="b")]
    endpoints = [clinic.endpoint, insurer.endpoint]
    events: list[dict[str, Any]] = []
    run = partial(
        execute,
        make_job(inputs),
        endpoints,
        simulation.provider(),
        agreed=[clinic, insurer],
        events=events,
    )
    if allowed:
        run()
    else:
        with pytest.raises(PolicyRefused) as caught:
            run()
        assert caught.value.rule == "smallest_group"
    assert ("delivered" in [event["event"] for event in events]) is allowed


def test_columns_added_after_the_grant_are_another_job(
    clinic: Owner,
    connect: Connect,
    people: pa.Table,
    policy: clf.Policy,
    identity: Callable[..., RunIdentity],
) -> None:
    clf.share(people, name="narrow", policy=policy, to=connect(clinic))
    approved = make_job([job_input(clinic.server, "narrow", columns=["id", "x"])])
    only = changed(policy, jobs=[approved.digest], columns=["id", "x"])
    connect(clinic).set_policy("narrow", only)
    clinic.agree(approved)
    assert set(open_session(identity(approved), clinic.endpoint).keys["narrow"].columns) == {
        "id",
        "x",
    }
    greedy = make_job([job_input(clinic.server, "narrow", columns=["id", "x", "note"])])
    with pytest.raises(JobNotApproved):
        open_session(identity(greedy), clinic.endpoint)
    clinic.agree(greedy)
    with pytest.raises(PolicyRefused) as caught:
        open_session(identity(greedy), clinic.endpoint)
    assert caught.value.rule == "jobs"

    def swap(exchange: Exchange) -> None:
        if exchange.path == "/v1/sessions":
            request = json.loads(exchange.request)
            request["job"]["inputs"][0]["columns"].append("note")
            exchange.request = json.dumps(request).encode()
            exchange.headers["Content-Length"] = str(len(exchange.request))

    with clinic.control.attacked(before=swap), pytest.raises(BindingMismatch):
        open_session(identity(approved), clinic.relayed)


def test_columns_that_the_owner_adds_later_do_not_leave_either(
    clinic: Owner,
    connect: Connect,
    people: pa.Table,
    policy: clf.Policy,
    identity: Callable[..., RunIdentity],
) -> None:
    connection = connect(clinic)
    only = changed(policy, columns=["id", "x"])
    everything = make_job([job_input(clinic.server, "growing")])
    clf.share(people.select(["id", "x"]), name="growing", policy=only, to=connection)
    clinic.agree(everything)
    open_session(identity(everything), clinic.endpoint)
    clf.share(people, name="growing", policy=only, to=connection)
    with pytest.raises(PolicyRefused) as caught:
        open_session(identity(everything), clinic.endpoint)
    assert caught.value.rule == "columns"


def test_policy_tightened_while_a_run_pulls_stops_the_run(
    clinic: Owner, connect: Connect, people: pa.Table, policy: clf.Policy, simulation: Simulation
) -> None:
    connection = connect(clinic)
    clf.share(people, name="moving", policy=policy, to=connection)
    tight = changed(policy, columns=["id"])

    def tighten(exchange: Exchange) -> None:
        if exchange.path.endswith("/0"):
            connection.set_policy("moving", tight)

    job = make_job([job_input(clinic.server, "moving")])
    with clinic.data.attacked(before=tighten), pytest.raises(PolicyRefused) as caught:
        execute(job, [clinic.endpoint], simulation.provider(), agreed=[clinic])
    assert caught.value.rule == "columns"


def test_larger_groups_demanded_while_a_run_streams_end_it(
    clinic: Owner,
    connect: Connect,
    people: pa.Table,
    policy: clf.Policy,
    simulation: Simulation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # It pulls again for each query: a session in between brings rules that step 12 must not take
    # for those under which it began to compute.
    monkeypatch.setattr(_run, "_IN_MEMORY_SHARE", 1 << 40)
    connection = connect(clinic)
    clf.share(people, name="streamed", policy=changed(policy, smallest_group=2), to=connection)
    pulls: list[str] = []

    def tighten(exchange: Exchange) -> None:
        if exchange.path.endswith("/0"):
            pulls.append(exchange.path)
            if len(pulls) == 2:
                connection.set_policy("streamed", changed(policy, smallest_group=100))

    job = make_job(
        [job_input(clinic.server, "streamed", columns=["id", "x", "y"])],
        memory_limit_bytes=LEAST_MEMORY_BYTES,
    )
    events: list[dict[str, Any]] = []
    with clinic.data.attacked(before=tighten), pytest.raises(PolicyRefused) as caught:
        execute(job, [clinic.endpoint], simulation.provider(), agreed=[clinic], events=events)
    assert caught.value.rule == "smallest_group"
    assert [event["event"] for event in events].count("session") == 3
    assert "computed" in [event["event"] for event in events]


def test_filter_that_comes_while_a_run_pulls_never_mixes_two_versions(
    clinic: Owner, connect: Connect, people: pa.Table, policy: clf.Policy, simulation: Simulation
) -> None:
    connection = connect(clinic)
    clf.share(people, name="mixed", policy=policy, to=connection)

    def tighten(exchange: Exchange) -> None:
        if exchange.path.endswith("/0"):
            connection.set_policy("mixed", changed(policy, rows="age >= 18"))

    job = make_job([job_input(clinic.server, "mixed")])
    with (
        clinic.data.attacked(before=tighten),
        pytest.raises(RunRefused, match="rows that may leave"),
    ):
        execute(job, [clinic.endpoint], simulation.provider(), agreed=[clinic])
    execute(job, [clinic.endpoint], simulation.provider())


def test_owner_changes_a_policy_and_hears_what_changed(
    clinic: Owner, connect: Connect, people: pa.Table, policy: clf.Policy
) -> None:
    connection = connect(clinic)
    clf.share(people, name="set", policy=changed(policy, columns=["id"]), to=connection)
    with pytest.raises(PolicyWidened, match="columns") as caught:
        connection.set_policy("set", policy)
    assert "widen=True" in str(caught.value)
    with pytest.raises(PolicyWidened):
        clf.share(people, name="set", policy=policy, to=connection)
    compared = connection.set_policy("set", policy, widen=True)
    assert (compared.wider, compared.tighter) == (("columns",), ())
    assert connection.set_policy("set", policy).wider == ()
    stored = connection.table("set").description.policy
    assert stored == policy.to_json()
    other = changed(policy, rows="note = 'x'")
    with pytest.raises(InvalidFilter, match="note"):
        clf.share(people.select(["id"]), name="set", policy=other, to=connection)


def test_policy_edited_on_the_disk_of_a_running_server_is_refused_by_name(
    make_owner: Callable[..., Owner],
    connect: Connect,
    people: pa.Table,
    policy: clf.Policy,
    simulation: Simulation,
) -> None:
    import sqlite3  # noqa: PLC0415 - the attacker's tool, not ours

    owner = make_owner("edited")
    clf.share(people, name="t", policy=changed(policy, columns=["id"]), to=connect(owner))
    database = sqlite3.connect(owner.directory / "metadata.sqlite", timeout=30)
    with database:
        text = json.dumps(policy.to_json(), sort_keys=True, separators=(",", ":"))
        assert database.execute("UPDATE tables SET policy = ?", (text,)).rowcount == 1
    database.close()
    job = make_job([job_input(owner.server, "t")])
    with pytest.raises(PolicyTampered):
        execute(job, [owner.endpoint], simulation.provider())
    assert connect(owner).table("t").description.policy is None
