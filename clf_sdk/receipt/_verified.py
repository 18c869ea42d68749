"""What verification of a receipt returns."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from clf_sdk._cards import card
from clf_sdk._not_picklable import NotPicklable
from clf_sdk.attestation import VerifiedEnclave
from clf_sdk.protocol import (
    DisclosureReport,
    JobDocument,
    MeasuredProgram,
    Mode,
    ReceiptInput,
    ReceiptOutput,
)
from clf_sdk.receipt._signed import SignedReceipt
from clf_sdk.receipt._text import as_text, describe

_SIMULATION = "INSECURE SIMULATION: no hardware vouches for this run"


@dataclass(frozen=True)
class VerifiedOwner:
    """An owner that granted its part of the job.

    Attributes
    ----------
    server
        Identity of its server: 64 hex digits.
    granted_at
        When, in Unix seconds, by the owner's clock. The quote was verified for this time.
    enclave
        What the enclave proved to it.
    """

    server: str
    granted_at: int
    enclave: VerifiedEnclave


@dataclass(frozen=True, repr=False)
class VerifiedReceipt(NotPicklable):
    """A receipt that holds. Only `verify` makes one.

    Attributes
    ----------
    signed
        The receipt.
    pinned_by
        Whose pin the program satisfied: ``"verifier"`` when `verify` was given a policy,
        otherwise ``"job"``, to which every owner agreed.
    owners
        Those that granted it, when, and what the enclave proved to them.
    """

    _not_pickled: ClassVar[str] = (
        "what was verified can't be carried in bytes that anybody can write; "
        "save() it, and verify again"
    )

    signed: SignedReceipt
    pinned_by: Literal["verifier", "job"]
    owners: tuple[VerifiedOwner, ...]

    def __repr__(self) -> str:
        vouched = "SGX hardware" if self.mode == "dcap" else "INSECURE SIMULATION"
        return (
            f"VerifiedReceipt(run {self.run[:12]}…, job {self.job.digest[:12]}…, "
            f"{len(self.owners)} owners, program {self.program.mrenclave[:12]}… "
            f"pinned by the {self.pinned_by}; {vouched})"
        )

    @property
    def run(self) -> str:
        """The run's id."""
        return self.signed.predicate.run

    @property
    def job(self) -> JobDocument:
        """The job."""
        return self.signed.predicate.job

    @property
    def mode(self) -> Mode:
        """``"dcap"``, or ``"simulation"`` when no hardware vouches for the run."""
        return self.signed.predicate.mode

    @property
    def program(self) -> MeasuredProgram:
        """The program that ran."""
        return self.signed.predicate.program

    @property
    def inputs(self) -> tuple[ReceiptInput, ...]:
        """What was used: table, dataset version, columns, rows."""
        return tuple(self.signed.predicate.inputs)

    @property
    def aligned_rows(self) -> int | None:
        """Rows after alignment; None where the results carry noise, and no exact count is told."""
        return self.signed.predicate.aligned_rows

    @property
    def outputs(self) -> tuple[ReceiptOutput, ...]:
        """What came out: dataset versions and recipients."""
        return tuple(self.signed.predicate.outputs)

    @property
    def disclosure(self) -> DisclosureReport:
        """The rules that the program enforced on the outputs."""
        return self.signed.predicate.disclosure

    @property
    def signing_key(self) -> bytes:
        """The key of the run, raw Ed25519; it signed the outputs' envelopes too."""
        return self.signed.signing_key

    @property
    def digest(self) -> str:
        """SHA-256 of the file, 64 hex digits: what parties compare."""
        return self.signed.digest

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the receipt to a file, byte for byte."""
        Path(path).write_bytes(self.signed.data)

    def to_json(self) -> dict[str, Any]:
        """Return what was verified as JSON values, without evidence."""
        predicate = self.signed.predicate.to_json()
        return {
            **{name: predicate[name] for name in ("run", "mode", "job", "program")},
            "job_digest": self.job.digest,
            "pinned_by": self.pinned_by,
            "owners": [
                {
                    "server": owner.server,
                    "granted_at": owner.granted_at,
                    "tcb_status": owner.enclave.tcb_status,
                    "advisories": list(owner.enclave.advisories),
                }
                for owner in self.owners
            ],
            **{
                name: predicate[name]
                for name in ("inputs", "aligned_rows", "outputs", "disclosure")
            },
            "digest": self.digest,
        }

    def _rows(self) -> list[tuple[str, str]]:
        platforms = dict.fromkeys(
            ", ".join((owner.enclave.tcb_status, *owner.enclave.advisories))
            for owner in self.owners
        )
        return [
            *describe(self.signed.predicate),
            ("platform", "; ".join(platforms)),
            ("pinned by", f"the {self.pinned_by}"),
            ("digest", self.digest),
        ]

    def summary(self) -> str:
        """Return what was verified as text."""
        warning = f"\n{_SIMULATION}" if self.mode == "simulation" else ""
        return as_text(self._rows()) + warning

    def _repr_html_(self) -> str:
        return card("Receipt", self.job.name, self._rows(), simulation=self.mode == "simulation")
