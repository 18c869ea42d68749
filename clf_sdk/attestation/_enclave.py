"""What verification returns."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class VerifiedEnclave:
    """An enclave that satisfied a policy at ``verified_at``. Byte strings are lower-case hex.

    Only `verify_quote` makes one. ``mode`` is ``simulation`` when no hardware vouches for it.
    """

    mrenclave: str
    mrsigner: str
    isv_prod_id: int
    isv_svn: int
    attributes: str
    report_data: str
    tcb_status: str
    advisories: tuple[str, ...]
    fmspc: str
    ppid: str
    mode: Literal["dcap", "simulation"]
    verified_at: int

    def __repr__(self) -> str:
        kind = "INSECURE SIMULATION, " if self.mode == "simulation" else ""
        return (
            f"VerifiedEnclave({kind}mrenclave={self.mrenclave[:12]}…, "
            f"mrsigner={self.mrsigner[:12]}…, product {self.isv_prod_id}, svn {self.isv_svn}, "
            f"{self.tcb_status})"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the claims as a JSON object."""
        return asdict(self) | {"advisories": list(self.advisories)}
