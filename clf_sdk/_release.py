"""Releases: outputs that recipients can open only after an owner has looked at them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from clf_sdk._cards import Identifier, Shown, card, frame_html
from clf_sdk._connection import Connection, only_connection
from clf_sdk._job_words import moment
from clf_sdk._not_picklable import NotPicklable
from clf_sdk.errors import NotFound
from clf_sdk.protocol import (
    DisclosureReport,
    HeldResult,
    ReleaseDecision,
    ReleaseList,
    ReleaseStatus,
)
from clf_sdk.receipt import SignedReceipt, output_in_words

if TYPE_CHECKING:
    import pandas as pd


class Release(NotPicklable):
    """One output that an owner reviews, from `releases`.

    What is shown is its shape and size; nobody but its recipients can read it.
    """

    _not_pickled: ClassVar[str] = "it belongs to an open connection; ask again with clf.releases()"

    def __init__(self, connection: Connection, held: HeldResult) -> None:
        self._connection = connection
        self._held = held

    def __repr__(self) -> str:
        warning = "; INSECURE SIMULATION" if self._held.envelope.mode == "simulation" else ""
        return (
            f"Release({self.output!r} of run {self.run[:12]}…, job {self.job[:12]}…: "
            f"{self.shape_in_words}, {self.bytes:,} bytes sealed, {self.status}{warning})"
        )

    def _repr_html_(self) -> str:
        rows: dict[str, Shown] = {
            "run": Identifier(self.run),
            "job": Identifier(self.job),
            "shape": self.shape_in_words,
            "sealed": f"{self.bytes:,} bytes, to {self.recipients:,} recipients",
            "arrived": moment(self._held.created_at),
            "disclosure": self.report_lines(),
            **({"reason": self.reason} if self.reason else {}),
        }
        title = f"{self.output} ({self.status})"
        return card("Output", title, rows, simulation=self._held.envelope.mode == "simulation")

    @property
    def run(self) -> str:
        """Id of the run: 32 hex digits."""
        return self._held.envelope.run

    @property
    def job(self) -> str:
        """Digest of the job: 64 hex digits."""
        return self._held.envelope.job

    @property
    def output(self) -> str:
        """Name of the output."""
        return self._held.envelope.output

    @property
    def status(self) -> ReleaseStatus:
        """``"pending"``, ``"released"`` or ``"refused"``."""
        return self._held.release

    @property
    def shape(self) -> tuple[int, int] | None:
        """Rows and columns of a table; None for a document."""
        shape = self._held.envelope.shape
        return None if shape is None else (shape[0], shape[1])

    @property
    def shape_in_words(self) -> str:
        """Shape, to be read."""
        if self.shape is None:
            return "a document"
        return f"{self.shape[0]:,} rows and {self.shape[1]:,} columns"

    @property
    def bytes(self) -> int:
        """Bytes of ciphertext."""
        return sum(self._held.envelope.objects.values())

    @property
    def recipients(self) -> int:
        """How many people it is sealed to; the job names them."""
        return len(self._held.envelope.keys)

    @property
    def reason(self) -> str | None:
        """What the owner wrote when it decided."""
        return self._held.reason

    @property
    def arrived_at(self) -> dt.datetime:
        """When the output came (UTC)."""
        return dt.datetime.fromtimestamp(self._held.created_at, dt.UTC)

    def report(self) -> DisclosureReport:
        """Return the run's disclosure report: the rules that the program enforced on its outputs.

        Raises
        ------
        NotFound
            The run's receipt, which holds the report, has not arrived.
        """
        return SignedReceipt.parse(self._connection.receipt(self.run)).predicate.disclosure

    def report_lines(self) -> list[str]:
        """Return the disclosure report, to be read."""
        try:
            report = self.report()
        except NotFound:
            return ["the run's receipt has not arrived yet"]
        people = "rows of single people" if self.output in report.row_level else "no single people"
        return [
            f"no number speaks of fewer than {report.rules.smallest_group:,} people",
            f"this output shows {people}; {len(report.rules.row_level):,} may receive such rows",
            *output_in_words(report, self.output, mine=self._connection.server),
        ]

    def _decide(self, decision: ReleaseDecision) -> Release:
        held = self._connection.http.ask(
            HeldResult,
            "POST",
            f"/v1/results/{self.run}/{self.output}/release",
            data=decision.canonical(),
            headers={"Content-Type": "application/json"},
        )
        return Release(self._connection, held)

    def approve(self, reason: str = "") -> Release:
        """Release the output: its recipients get this owner's share of its key.

        Parameters
        ----------
        reason
            For the audit log, up to 1,000 characters.

        Raises
        ------
        Conflict
            It was refused before.
        """
        return self._decide(ReleaseDecision(decision="approve", reason=reason))

    def refuse(self, reason: str = "") -> Release:
        """Refuse the output for good: this owner's share of its key is destroyed.

        Who fetched a released output before keeps it.

        Parameters
        ----------
        reason
            For the recipients and the audit log, up to 1,000 characters.
        """
        return self._decide(ReleaseDecision(decision="refuse", reason=reason))


class Releases(Sequence[Release]):
    """Outputs that one owner reviews, the newest first."""

    def __init__(self, found: Sequence[Release]) -> None:
        self._found = list(found)

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Release]:
        return iter(self._found)

    def __getitem__(self, index: int) -> Release:  # type: ignore[override]  # no slices
        return self._found[index]

    def __repr__(self) -> str:
        return self.to_pandas().to_string(index=False) if self._found else "no outputs to review"

    def _repr_html_(self) -> str:
        return frame_html(self.to_pandas()) if self._found else "<p>no outputs to review</p>"

    def of(self, job: str, output: str, *, run: str | None = None) -> Release:
        """Return the newest one of a job's output.

        Parameters
        ----------
        job
            Digest of the job, or its first digits.
        output
            Name of the output.
        run
            Id of the run, or its first digits; by default the newest.

        Raises
        ------
        NotFound
            There is none, or several jobs begin with these digits.
        """
        found = [
            release
            for release in self._found
            if release.job.startswith(job)
            and release.output == output
            and release.run.startswith(run or "")
        ]
        if not job or len({release.job for release in found}) != 1:
            raise NotFound(
                f"no single job {job[:64]!r} has an output {output[:64]!r} to review here",
                hint="`clf release list` shows them; give more digits of the job's digest",
            )
        return found[0]

    def to_pandas(self) -> pd.DataFrame:
        """Return the list as a data frame."""
        import pandas as pd  # noqa: PLC0415 - the SDK's import stays light

        return pd.DataFrame(
            {
                "job": [release.job for release in self._found],
                "run": [release.run for release in self._found],
                "output": [release.output for release in self._found],
                "shape": [release.shape_in_words for release in self._found],
                "bytes": [release.bytes for release in self._found],
                "status": [release.status for release in self._found],
                "arrived_at": [release.arrived_at for release in self._found],
            }
        )


def releases(connection: Connection | None = None) -> Releases:
    """List the outputs that an owner reviews.

    Parameters
    ----------
    connection
        To the owner's server, with an owner's token; by default the only connection there is.

    Raises
    ------
    TokenRefused
        The profile is not an owner's.
    """
    chosen = connection or only_connection()
    listed = chosen.http.ask(ReleaseList, "GET", "/v1/releases")
    return Releases([Release(chosen, held) for held in listed.releases])
