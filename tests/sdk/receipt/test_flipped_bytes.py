"""No byte of a receipt can be changed: every one of them is tried."""

from __future__ import annotations

import pytest

from clf_sdk.errors import ClfError
from clf_testing import HandmadeRun, Simulation, owner_keys

SHARDS = 8


@pytest.fixture(scope="module")
def run(simulation: Simulation) -> HandmadeRun:
    return HandmadeRun(simulation, owners=owner_keys(1), versions={"fit": "a0" * 32})


@pytest.fixture(scope="module")
def receipt(run: HandmadeRun) -> bytes:
    return run.seal()


@pytest.mark.parametrize("shard", range(SHARDS))
def test_any_flipped_byte_makes_verification_fail(
    run: HandmadeRun, receipt: bytes, shard: int
) -> None:
    anchor = run.anchor
    assert run.verify(receipt, anchor=anchor).run == run.run
    accepted = []
    for place in range(shard, len(receipt), SHARDS):
        flipped = bytearray(receipt)
        flipped[place] ^= 1 << (place // SHARDS % 8)
        try:
            run.verify(bytes(flipped), anchor=anchor)
        except ClfError:
            continue
        accepted.append(place)
    assert accepted == []


def test_any_missing_end_makes_verification_fail(run: HandmadeRun, receipt: bytes) -> None:
    for length in (0, 1, len(receipt) // 2, len(receipt) - 1):
        with pytest.raises(ClfError):
            run.verify(receipt[:length])
