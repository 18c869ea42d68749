"""What a run gives back to those for whom it was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import pyarrow as pa

from clf_sdk._cards import Identifier, Shown, card, frame_html, grid, text
from clf_sdk._figures import FIGURES, Figure, figures_of
from clf_sdk._not_picklable import NotPicklable
from clf_sdk._result_table import for_paper
from clf_sdk.errors import NotFound
from clf_sdk.protocol import Mode, canonical_json
from clf_sdk.receipt import VerifiedReceipt

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_SIMULATION = "INSECURE SIMULATION: no hardware vouches for this result"


Output: TypeAlias = "pa.Table | dict[str, Any]"
"""A table, or a document: a JSON object."""


def find_output(outputs: Mapping[str, Output], output: str | None, *, of: str) -> Output:
    """Return the output of a name, by default the first one.

    Raises
    ------
    NotFound
        There is no such output.
    """
    name = next(iter(outputs), "") if output is None else output
    if name not in outputs:
        known = ", ".join(outputs) or "none"
        raise NotFound(f"{of} has no output {name!r}", hint=f"it has: {known}")
    return outputs[name]


def as_arrow(output: Output) -> pa.Table:
    """Return an output as a table; a document becomes a table of one row."""
    return output if isinstance(output, pa.Table) else pa.Table.from_pylist([output])


@dataclass(frozen=True)
class Result(NotPicklable):
    """The outputs of a run, decrypted; from `fetch`.

    Attributes
    ----------
    receipt
        How they came about, verified.
    outputs
        Tables and documents by name.
    """

    _not_pickled: ClassVar[str] = (
        "what was verified can't be carried in bytes that anybody can write; "
        "fetch again, or keep to_arrow() and receipt.save()"
    )

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
        return find_output(self.outputs, output, of="the result")

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
        return as_arrow(self._find(output))

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

    def model(self, output: str = "model") -> pa.Table:
        """Return a model as a table that can be shared, and then be an input of `Score`.

        Parameters
        ----------
        output
            Name of the output that is the model.

        Returns
        -------
        pa.Table
            One row: the model's ``document``, and the ``run``, ``output`` and ``version`` that a
            receipt names.

        Raises
        ------
        NotFound
            There is no such output, or it is no model.
        """
        found = self._find(output)
        if isinstance(found, pa.Table) or "model" not in found:
            raise NotFound(f"output {output!r} is no model", hint="models are documents")
        version = next(each.version for each in self.receipt.outputs if each.name == output)
        row = {"run": self.run, "output": output, "version": version}
        return pa.Table.from_pylist([{"document": canonical_json(found).decode(), **row}])

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

    def _output_html(self, name: str) -> str:
        frame = for_paper(self.to_pandas(name), confidence=self._confidence)
        if len(frame) == 1 and len(frame.columns) > 1:  # what is about the whole reads downwards
            return grid(["", ""], [(str(key), value) for key, value in frame.iloc[0].items()])
        return frame_html(frame)

    @property
    def _confidence(self) -> object:
        return self.receipt.job.operation.parameters.get("confidence")

    def _figure(self, output: str | None, kind: str | None) -> tuple[str, Figure]:
        names = list(self.outputs) if output is None else [output]
        fitting = [
            (name, figure)
            for name in names
            for figure in figures_of(self.to_arrow(name).column_names)
        ]
        for name, figure in fitting:
            if kind in (None, figure.kind):
                return name, figure
        known = [f"plot({name!r}, kind={figure.kind!r})" for name, figure in fitting]
        asked = "figure" if kind is None else f"figure of kind {kind!r}"
        raise NotFound(
            f"there is no {asked} for {', '.join(names)}",
            hint=f"there is: {', '.join(known)}"
            if known
            else "to_pandas() returns the numbers; there are figures of the kinds "
            + ", ".join(each.kind for each in FIGURES),
        )

    def plot(
        self, output: str | None = None, *, kind: str | None = None, ax: Axes | None = None
    ) -> Axes:
        """Draw an output, for example the coefficients of a model as a forest plot.

        Parameters
        ----------
        output
            Name of the output; by default the first one that can be drawn.
        kind
            What to draw: ``forest``, ``roc``, ``precision_recall``, ``calibration``,
            ``cross_validation``, ``importance``, ``survival``, ``profiles`` of clusters, ``scree``,
            ``loadings``, ``correlations``, ``histogram`` of categories, ``quantiles``. By default
            what fits the output; a ``curve`` is drawn as ``roc``.
        ax
            Where to draw; by default on axes of their own.

        Returns
        -------
        matplotlib.axes.Axes
            To be changed further, or saved with ``.figure.savefig(path)``.

        Raises
        ------
        NotFound
            There is no such output, or no such figure for it.
        ConfigurationError
            matplotlib is not installed.
        """
        name, figure = self._figure(output, kind)
        axes = figure.draw(self.to_pandas(name), ax)
        title = f"{self.receipt.job.name}: {name}"
        if self.mode == "simulation":
            axes.set_title(f"{title}\n{_SIMULATION}", color="#a30021", fontsize="medium")
        else:
            axes.set_title(title, fontsize="medium")
        return axes

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
        tables = "".join(
            f'<div style="margin:6px 0 2px;font-weight:600">{text(name)}</div>'
            f"{self._output_html(name)}"
            for name in self.outputs
        )
        rows: dict[str, Shown] = {"run": Identifier(self.run), "job": Identifier(self.job)}
        name = self.receipt.job.name
        return card("Result", name, rows, simulation=self.mode == "simulation", body=tables)
