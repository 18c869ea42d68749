from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_enclave import _pull, _run
from clf_enclave._alignment import _partition
from clf_enclave._pull import TablePull
from clf_enclave._session import RunIdentity, open_session
from clf_sdk.errors import BindingMismatch, RunRefused, SealBroken, TicketRefused
from clf_sdk.keys import PrivateKey, SigningKey
from clf_sdk.protocol import LEAST_MEMORY_BYTES
from clf_testing import Exchange, Owner, Simulation, execute, job_input, make_job

Pull = Callable[..., TablePull]


@pytest.fixture
def share(
    clinic: Owner, connect: Callable[..., clf.Connection], policy: clf.Policy
) -> Callable[[pa.Table], None]:
    def publish(table: pa.Table) -> None:
        clf.share(table, name="pulled", policy=policy, to=connect(clinic))

    return publish


@pytest.fixture
def pull(clinic: Owner, simulation: Simulation) -> Pull:
    def begin(owner: Owner = clinic, *, keys: Sequence[str] = ("id",), **changes: Any) -> TablePull:
        identity = RunIdentity(
            run=secrets.token_hex(16),
            job=make_job([job_input(owner.server, "pulled", **changes)], keys=keys),
            hpke=PrivateKey.generate(),
            signing=SigningKey.generate(),
            provider=simulation.provider(),
        )
        owner.agree(identity.job)
        session = open_session(identity, owner.endpoint)
        return TablePull("pulled", session, partial(open_session, identity, owner.endpoint))

    return begin


def test_table_comes_in_as_it_was_shared(
    share: Callable[[pa.Table], None], pull: Pull, numbers: pa.Table
) -> None:
    share(numbers)
    assert pull().table().equals(numbers)
    assert pull(columns=["id", "y"]).table().equals(numbers.select(["id", "y"]))


def test_stream_pulls_the_table_as_often_as_it_is_read(
    share: Callable[[pa.Table], None], pull: Pull, numbers: pa.Table
) -> None:
    share(numbers)
    pulling = pull(columns=["id", "y"])
    stream = pulling.stream()
    for times in (1, 2):
        assert stream.reader().read_all().equals(numbers.select(["id", "y"]))
        assert pulling.pulled_bytes == times * pulling.granted_bytes()
    assert stream.rows == numbers.num_rows


def test_job_whose_inputs_do_not_fit_in_memory_runs_on_streams(
    share: Callable[[pa.Table], None],
    clinic: Owner,
    simulation: Simulation,
    numbers: pa.Table,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_run, "_IN_MEMORY_SHARE", 1 << 40)
    monkeypatch.setattr(_partition, "_WORKING_SHARE", 1 << 20)
    share(numbers)
    events: list[dict[str, Any]] = []
    job = make_job(
        [job_input(clinic.server, "pulled", columns=["id", "x", "y"])],
        memory_limit_bytes=LEAST_MEMORY_BYTES,
    )
    execute(job, [clinic.endpoint], simulation.provider(), agreed=[clinic], events=events)
    told = [event["event"] for event in events]
    assert "streaming" in told
    assert "delivered" in told


def test_empty_table_comes_in(
    share: Callable[[pa.Table], None], pull: Pull, numbers: pa.Table
) -> None:
    share(numbers.slice(0, 0))
    assert pull().table().equals(numbers.slice(0, 0))


def test_table_comes_in_over_https_when_the_plain_listener_is_off(
    make_owner: Callable[..., Owner],
    connect: Callable[..., clf.Connection],
    pull: Pull,
    numbers: pa.Table,
    policy: clf.Policy,
) -> None:
    quiet = make_owner("quiet", blob_listener=False)
    clf.share(numbers, name="pulled", policy=policy, to=connect(quiet))
    with quiet.data.attacked() as data:
        assert pull(quiet).table().equals(numbers)
    assert data.seen == []


@pytest.fixture
def alike() -> pa.Table:
    """Three columns whose segments have one length."""
    return pa.table({name: [float(i) for i in range(8)] for name in "xyz"})


def test_only_granted_columns_are_asked_for_and_opened(
    share: Callable[[pa.Table], None], pull: Pull, clinic: Owner, alike: pa.Table
) -> None:
    share(alike)
    sizes = []
    for columns in (["y"], ["x", "y", "z"]):
        with clinic.data.attacked() as relay:
            assert pull(keys=["y"], columns=columns).table().column_names == columns
        sizes += [len(seen.answer) for seen in relay.seen if seen.path.endswith("/0")]
    assert sizes[0] * 3 == sizes[1]


def test_swapped_segments_are_seals_broken(
    share: Callable[[pa.Table], None], pull: Pull, clinic: Owner, alike: pa.Table
) -> None:
    share(alike)

    def swap(exchange: Exchange) -> None:
        if exchange.path.endswith("/0"):
            size = len(exchange.answer) // 3
            parts = [exchange.answer[i * size : (i + 1) * size] for i in (0, 2, 1)]
            exchange.answer = b"".join(parts)

    with clinic.data.attacked(after=swap), pytest.raises(SealBroken):
        pull(keys=["x"]).table()


@pytest.fixture(scope="module")
def long() -> pa.Table:
    """Two row groups of one size."""
    values = np.random.default_rng(1).standard_normal(8 << 20)
    return pa.table({"id": values, "x": values[::-1]})


def test_row_groups_come_in_order_and_reordered_ones_are_seals_broken(
    share: Callable[[pa.Table], None], pull: Pull, clinic: Owner, long: pa.Table
) -> None:
    share(long)
    with clinic.data.attacked() as relay:
        assert pull().table().equals(long)
    names = {exchange.path.rsplit("/", 1)[1] for exchange in relay.seen}
    assert names == {"manifest", "0", "1"}

    def reorder(exchange: Exchange) -> None:
        base, _, name = exchange.path.rpartition("/")
        exchange.path = f"{base}/{ {'0': '1', '1': '0'}.get(name, name) }"

    with clinic.data.attacked(before=reorder), pytest.raises(SealBroken):
        pull().table()


def _expire(ends: str, times: int) -> Callable[[Exchange], None]:
    left = times

    def attack(exchange: Exchange) -> None:
        nonlocal left
        if exchange.path.endswith(ends) and left:
            left -= 1
            exchange.headers["Authorization"] = "CLF-Ticket expired"

    return attack


@pytest.mark.parametrize("name", ["/manifest", "/0"])
def test_ticket_that_expires_is_renewed_by_a_new_session(
    share: Callable[[pa.Table], None], pull: Pull, clinic: Owner, numbers: pa.Table, name: str
) -> None:
    share(numbers)
    with clinic.data.attacked(before=_expire(name, 2)):
        assert pull().table().equals(numbers)


@pytest.mark.parametrize("name", ["/manifest", "/0"])
def test_server_that_refuses_every_ticket_ends_the_pull(
    share: Callable[[pa.Table], None],
    pull: Pull,
    clinic: Owner,
    numbers: pa.Table,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    share(numbers)
    monkeypatch.setattr(_pull, "_MOST_RENEWALS", 3)
    with clinic.data.attacked(before=_expire(name, 100)), pytest.raises(TicketRefused):
        pull().table()


def test_table_that_is_replaced_while_it_is_pulled_is_not_mixed(
    share: Callable[[pa.Table], None], pull: Pull, clinic: Owner, numbers: pa.Table
) -> None:
    share(numbers)
    begun = pull()

    def replace(exchange: Exchange) -> None:
        if exchange.path.endswith("/0") and not replaced:
            replaced.append(exchange)
            share(numbers.slice(2))
            exchange.headers["Authorization"] = "CLF-Ticket expired"

    replaced: list[Exchange] = []
    with (
        clinic.data.attacked(before=replace),
        pytest.raises(RunRefused, match="changed since the run"),
    ):
        begun.table()


def test_server_that_renews_a_session_for_another_version_is_caught(
    share: Callable[[pa.Table], None], pull: Pull, clinic: Owner, numbers: pa.Table
) -> None:
    share(numbers)
    begun = pull()
    share(numbers.slice(2))
    other = pull()
    begun._renew = other._renew  # as if the server had forgotten which version the run has
    with (
        clinic.data.attacked(before=lambda e: e.headers.update(Authorization="CLF-Ticket none")),
        pytest.raises(BindingMismatch, match="changed while it was pulled"),
    ):
        begun.table()
