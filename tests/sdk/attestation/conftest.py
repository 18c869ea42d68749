from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from clf_sdk.attestation import (
    Collateral,
    EnclavePolicy,
    SimulatedPlatform,
    TrustAnchor,
    VerifiedEnclave,
    verify_quote,
)

NOW = 1_800_000_000


@dataclass(frozen=True)
class Bench:
    """A simulated platform and everything that makes its quotes verify, to be broken one by one."""

    platform: SimulatedPlatform
    anchor: TrustAnchor
    policy: EnclavePolicy
    report_data: bytes
    now: int

    def quote(self, **changes: Any) -> bytes:
        claims: dict[str, Any] = {
            "report_data": self.report_data,
            "mrenclave": "ab" * 32,
            "mrsigner": self.platform.mrsigner,
            "isv_prod_id": 7,
            "isv_svn": 3,
        }
        return self.platform.quote(**(claims | changes))

    def with_policy(self, **changes: Any) -> Bench:
        return replace(self, policy=replace(self.policy, **changes))

    def verify(
        self,
        quote: bytes | None = None,
        *,
        collateral: Collateral | None = None,
        now: int | None = None,
    ) -> VerifiedEnclave:
        return verify_quote(
            self.quote() if quote is None else quote,
            collateral or self.platform.collateral,
            policy=self.policy,
            report_data=self.report_data,
            anchor=self.anchor,
            now=self.now + 60 if now is None else now,
        )


def make_bench(**platform: Any) -> Bench:
    simulated = SimulatedPlatform.generate(now=NOW, **platform)
    policy = EnclavePolicy(
        mrenclave="ab" * 32, mrsigner=simulated.mrsigner, isv_prod_id=7, min_isv_svn=3
    )
    anchor = TrustAnchor.insecure_simulation(simulated.anchor_pem)
    return Bench(simulated, anchor, policy, bytes(range(64)), NOW)


@pytest.fixture(scope="session")
def bench() -> Bench:
    return make_bench()


@pytest.fixture(scope="session")
def other_bench() -> Bench:
    """The same with another root."""
    return make_bench()
