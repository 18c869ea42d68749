"""A host or network between enclave and servers changes what it carries: nothing comes of it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_sdk.errors import (
    BindingMismatch,
    ClfError,
    SealBroken,
    ServerIdentityMismatch,
    TransportError,
)
from clf_sdk.keys import SigningKey
from clf_testing import Exchange, Owner, Simulation, execute, job_input, make_job
from clf_testing._relay import Attack


@pytest.fixture
def shared(
    clinic: Owner, connect: Callable[..., clf.Connection], numbers: pa.Table, policy: clf.Policy
) -> Owner:
    clf.share(numbers, name="t", policy=policy, to=connect(clinic))
    return clinic


def run(shared: Owner, simulation: Simulation) -> None:
    job = make_job([job_input(shared.server, "t")])
    execute(job, [shared.relayed], simulation.provider(), agreed=[shared])


def on(part: str, change: Callable[[Exchange], None]) -> Attack:
    def attack(exchange: Exchange) -> None:
        if exchange.path.endswith(part):
            change(exchange)

    return attack


def flip(place: float) -> Callable[[Exchange], None]:
    def change(exchange: Exchange) -> None:
        changed = bytearray(exchange.answer)
        changed[int(place * (len(changed) - 1))] ^= 1
        exchange.answer = bytes(changed)

    return change


def test_an_honest_network_carries_a_run(shared: Owner, simulation: Simulation) -> None:
    with shared.data.attacked() as relay:
        run(shared, simulation)
    assert {exchange.path.rsplit("/", 1)[1] for exchange in relay.seen} == {"manifest", "0"}


@pytest.mark.parametrize("name", ["manifest", "0"])
@pytest.mark.parametrize("place", [0.0, 0.3, 0.7, 1.0])
def test_a_flipped_bit_of_ciphertext_ends_the_run(
    shared: Owner, simulation: Simulation, name: str, place: float
) -> None:
    with (
        shared.data.attacked(after=on(f"/{name}", flip(place))),
        shared.control.attacked() as control,
        pytest.raises(SealBroken),
    ):
        run(shared, simulation)
    assert not [exchange for exchange in control.seen if "/v1/results/" in exchange.path]


def test_truncated_ciphertext_ends_the_run(shared: Owner, simulation: Simulation) -> None:
    def cut(exchange: Exchange) -> None:
        exchange.cut_after = len(exchange.answer) // 2

    with shared.data.attacked(after=on("/0", cut)), pytest.raises(TransportError):
        run(shared, simulation)


def test_ciphertext_of_another_version_ends_the_run(
    shared: Owner,
    simulation: Simulation,
    connect: Callable[..., clf.Connection],
    numbers: pa.Table,
    policy: clf.Policy,
) -> None:
    with shared.data.attacked() as relay:
        run(shared, simulation)
    old = {exchange.path.rsplit("/", 1)[1]: exchange.answer for exchange in relay.seen}
    newer = numbers.set_column(1, "x", pa.array([float(i * i) for i in range(8)]))
    clf.share(newer, name="t", policy=policy, to=connect(shared))

    def replay(exchange: Exchange) -> None:
        exchange.answer = old[exchange.path.rsplit("/", 1)[1]]

    for name in ("/0", "/manifest"):
        with shared.data.attacked(after=on(name, replay)), pytest.raises(ClfError) as caught:
            run(shared, simulation)
        assert isinstance(caught.value, SealBroken | TransportError)


def test_a_changed_session_answer_is_not_the_server_s(
    shared: Owner, simulation: Simulation
) -> None:
    def change(exchange: Exchange) -> None:
        exchange.answer = exchange.answer.replace(b'"mode":"simulation"', b'"mode":"dcap"')

    with (
        shared.control.attacked(after=on("/v1/sessions", change)),
        pytest.raises(ServerIdentityMismatch),
    ):
        run(shared, simulation)


def test_a_replayed_session_answer_is_for_another_nonce(
    shared: Owner, simulation: Simulation
) -> None:
    with shared.control.attacked() as relay:
        run(shared, simulation)
    old = next(exchange for exchange in relay.seen if exchange.path == "/v1/sessions").answer

    def replay(exchange: Exchange) -> None:
        exchange.answer = old

    with (
        shared.control.attacked(after=on("/v1/sessions", replay)),
        pytest.raises(BindingMismatch),
    ):
        run(shared, simulation)


def test_an_impostor_with_the_tls_key_gets_nothing_in_and_nothing_out(
    shared: Owner, simulation: Simulation
) -> None:
    impostor = SigningKey.generate()

    def answer(exchange: Exchange) -> None:

        challenge = json.loads(exchange.answer)
        challenge["public_key"] = base64.b64encode(impostor.public_bytes).decode()
        exchange.answer = json.dumps(challenge).encode()

    with (
        shared.control.attacked(after=on("/v1/challenges", answer)) as relay,
        pytest.raises(ServerIdentityMismatch),
    ):
        run(shared, simulation)
    assert [exchange.path for exchange in relay.seen] == ["/v1/challenges"]


def test_an_enclave_led_to_another_owner_stops_before_it_says_anything(
    shared: Owner, insurer: Owner, simulation: Simulation
) -> None:
    job = make_job([job_input(shared.server, "t")])
    misled = insurer.relayed.model_copy(update={"server": shared.server})
    with insurer.control.attacked() as relay, pytest.raises(ServerIdentityMismatch):
        execute(job, [misled], simulation.provider())
    assert [exchange.path for exchange in relay.seen] == ["/v1/challenges"]


def test_an_expired_ticket_is_renewed_by_attesting_again(
    shared: Owner, simulation: Simulation
) -> None:
    refused = 0

    def refuse_once(exchange: Exchange) -> None:
        nonlocal refused
        if not refused:
            refused += 1
            exchange.headers["Authorization"] = "CLF-Ticket expired"

    job = make_job([job_input(shared.server, "t")])
    events: list[dict[str, object]] = []
    with shared.data.attacked(before=on("/0", refuse_once)):
        execute(job, [shared.relayed], simulation.provider(), agreed=[shared], events=events)
    assert refused == 1
    assert [event["event"] for event in events].count("session") == 3  # one more, before it seals
