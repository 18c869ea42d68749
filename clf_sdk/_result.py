"""What a run gives back to those for whom it was made."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from clf_sdk.errors import NotFound
from clf_sdk.protocol import Mode
from clf_sdk.receipt import VerifiedReceipt

if TYPE_CHECKING:
    import pandas as pd

_SIMULATION = "INSECURE SIMULATION: no hardware vouches for this result"


Output: TypeAlias = "pa.Table | dict[str, Any]"
"""A table, or a document: a JSON object."""


@dataclass(frozen=True)
class Result:
    """The outputs of a run, decrypted; from `fetch`.

    Attributes
    ----------
    receipt
        How they came about, verified.
    outputs
        Tables and documents by name.
    """

    receipt: VerifiedReceipt
    outputs: Mapping[str, Output] = field(repr=False)

    def __repr__(self) -> str:
        names = ", ".join(self.outputs)
        warning = "; INSECURE SIMULATION" if self.mode == "simulation" else ""
        return f"Result({names}; run {self.run[:12]}…, job {self.job[:12]}…{warning})"

    @property
    def run(self) -> str:
        """The run's id."""
        return self.receipt.run

    @property
    def job(self) -> str:
        """Digest of the job."""
        return self.receipt.job.digest

    @property
    def mode(self) -> Mode:
        """``"dcap"``, or ``"simulation"`` when no hardware vouches for the run."""
        return self.receipt.mode

    def _find(self, output: str | None) -> Output:
        name = next(iter(self.outputs)) if output is None else output
        if name not in self.outputs:
            raise NotFound(
                f"the result has no output {name!r}", hint=f"it has: {', '.join(self.outputs)}"
            )
        return self.outputs[name]

    def to_arrow(self, output: str | None = None) -> pa.Table:
        """Return an output as an Arrow table; a document becomes a table of one row.

        Parameters
        ----------
        output
            Name of the output; by default the first one.

        Raises
        ------
        NotFound
            There is no such output.
        """
        found = self._find(output)
        return found if isinstance(found, pa.Table) else pa.Table.from_pylist([found])

    def to_dict(self, output: str | None = None) -> dict[str, Any]:
        """Return an output as a dictionary: a document as it is, a table by columns.

        Parameters
        ----------
        output
            Name of the output; by default the first one.

        Raises
        ------
        NotFound
            There is no such output.
        """
        found = self._find(output)
        whole: dict[str, Any] = found.to_pydict() if isinstance(found, pa.Table) else dict(found)
        return whole

    def to_pandas(self, output: str | None = None) -> pd.DataFrame:
        """Return an output as a data frame.

        Parameters
        ----------
        output
            Name of the output; by default the first one.

        Raises
        ------
        NotFound
            There is no such output.
        """
        frame: pd.DataFrame = self.to_arrow(output).to_pandas()
        return frame

    def summary(self) -> str:
        """Return all outputs as text."""
        parts = []
        for name in self.outputs:
            frame = self.to_pandas(name)
            one_row = len(frame) == 1
            shown = frame.T.to_string(header=False) if one_row else frame.to_string(index=False)
            parts.append(f"{name}\n{shown}")
        if self.mode == "simulation":
            parts.append(_SIMULATION)
        return "\n\n".join(parts)

    def _repr_html_(self) -> str:
        warning = f"<p><strong>{_SIMULATION}</strong></p>" if self.mode == "simulation" else ""
        tables = "".join(
            f"<h4>{html.escape(name)}</h4>{self.to_pandas(name).to_html(index=False, escape=True)}"
            for name in self.outputs
        )
        return f"<div>{warning}{tables}<small>run {html.escape(self.run)}</small></div>"
