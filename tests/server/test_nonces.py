from __future__ import annotations

import pytest

from clf_sdk.errors import NonceRefused
from clf_server import _nonces
from clf_server._nonces import LIFETIME_SECONDS, NonceStore
from clf_testing import Clock


def test_nonces_are_32_random_bytes() -> None:
    store = NonceStore(Clock(0.0))
    nonces = {store.issue() for _ in range(100)}
    assert len(nonces) == 100
    assert {len(bytes.fromhex(nonce)) for nonce in nonces} == {32}


def test_flood_of_challenges_takes_no_memory_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_nonces, "_MOST", 10)
    store = NonceStore(Clock(0.0))
    first, *_, last = [store.issue() for _ in range(11)]
    with pytest.raises(NonceRefused):
        store.consume(first)
    store.consume(last)


def test_old_nonces_are_forgotten() -> None:
    clock = Clock(0.0)
    store = NonceStore(clock)
    for _ in range(10):
        store.issue()
    clock.now += LIFETIME_SECONDS + 1
    store.issue()
    assert len(store._born) == 1
