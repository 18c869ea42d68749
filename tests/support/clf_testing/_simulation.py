"""One simulated TEE for all tests of a session."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import clf_sdk as clf
from clf_sdk.attestation import EnclavePolicy, SimulatedPlatform, SimulatedProvider
from clf_testing._jobs import MRENCLAVE

PROD_ID = 1
SVN = 1


@dataclass(frozen=True)
class Simulation:
    """A simulated TEE, in a directory and in memory."""

    directory: Path
    platform: SimulatedPlatform

    @property
    def anchor(self) -> Path:
        return self.directory / "anchor.pem"

    @property
    def enclave_policy(self) -> EnclavePolicy:
        """Pin the signer: the program's own measurement changes with every edited file."""
        return EnclavePolicy(mrsigner=self.platform.mrsigner, isv_prod_id=PROD_ID, min_isv_svn=SVN)

    @property
    def policy(self) -> clf.Policy:
        """Let every job run that the program knows, as often as tests like."""
        return self.policy_with()

    def policy_with(self, **changes: Any) -> clf.Policy:
        """Return the same policy with other rules."""
        rules: dict[str, Any] = {
            "enclave": self.enclave_policy,
            "operations": ["glm"],
            "runs": 1000,
            "smallest_group": 1,
            "approval": "automatic",
        }
        return clf.Policy(**(rules | changes))

    def provider(self, *, mrenclave: str = MRENCLAVE) -> SimulatedProvider:
        return SimulatedProvider(
            self.platform,
            mrenclave=mrenclave,
            mrsigner=self.platform.mrsigner,
            isv_prod_id=PROD_ID,
            isv_svn=SVN,
        )
