from __future__ import annotations

import pytest

from clf_sdk.errors import TicketRefused
from clf_server._tickets import LIFETIME_SECONDS, Ticket, TicketStore
from clf_testing import Clock

TICKET = Ticket(
    versions=frozenset({"ab" * 16}),
    run="cd" * 16,
    job="ef" * 32,
    mode="simulation",
    enclave=bytes(32),
    session="ab" * 16,
    takes_results=False,
    review=False,
)


def test_ticket_opens_until_it_dies() -> None:
    clock = Clock(100.0)
    store = TicketStore(clock)
    secret = store.issue(TICKET)
    clock.now += LIFETIME_SECONDS - 1
    assert store.check(secret) == TICKET
    clock.now += 1
    with pytest.raises(TicketRefused, match="expired"):
        store.check(secret)


@pytest.mark.parametrize("secret", ["", "guess", "a" * 43, "é\0"])
def test_unknown_ticket_is_refused(secret: str) -> None:
    store = TicketStore(Clock(0.0))
    store.issue(TICKET)
    with pytest.raises(TicketRefused):
        store.check(secret)


def test_secrets_are_never_kept_and_dead_tickets_are_forgotten() -> None:
    clock = Clock(0.0)
    store = TicketStore(clock)
    secrets = {store.issue(TICKET) for _ in range(10)}
    assert len(secrets) == 10
    assert not any(secret in repr(vars(store)) for secret in secrets)
    clock.now += LIFETIME_SECONDS
    store.issue(TICKET)
    assert len(store._tickets) == 1
