"""``dry_run()``: a job on mock data, in this process, before owners are asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from clf_sdk._cards import Shown, card
from clf_sdk._connection import connections_to
from clf_sdk._job import Job
from clf_sdk._result import Output, as_arrow, find_output
from clf_sdk.errors import ConfigurationError, PolicyRefused
from clf_sdk.operations import in_words, job_cost, millionths
from clf_sdk.operations._epsilon import PLACES
from clf_sdk.policy import Policy
from clf_sdk.policy._document import DEFAULT_GROUP
from clf_sdk.protocol import DisclosureReport, JoinNode, Rules, inputs_of, walk

if TYPE_CHECKING:
    import pandas as pd

    from clf_sdk.protocol import JobDocument

MOCK_DATA = "MOCK DATA: these numbers say nothing about anybody"


@dataclass(frozen=True)
class DryRun:
    """What a job gives on mock data; from `dry_run`.

    Attributes
    ----------
    outputs
        Tables and documents by name, of made-up rows: their shapes are those of a run.
    report
        What the rules checked and hid; None where one refuses.
    refused
        Rules that refuse, each with its reason.
    epsilon
        What each run costs of every table's privacy budget; the dry run costs nothing.
    """

    outputs: Mapping[str, Output] = field(repr=False)
    report: DisclosureReport | None
    refused: tuple[PolicyRefused, ...]
    epsilon: float = 0.0

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name}: {shape}" for name, shape in self.shapes.items())
        return f"DryRun({shapes or 'nothing comes out'}; {len(self.refused)} rules refuse; MOCK)"

    @property
    def shapes(self) -> dict[str, str]:
        """By output its shape in words."""
        return {
            name: f"{output.num_rows:,} rows, {output.num_columns:,} columns"
            if isinstance(output, pa.Table)
            else f"document with {', '.join(output)}"
            for name, output in self.outputs.items()
        }

    @property
    def rules(self) -> list[str]:
        """What each rule did, in words: those that refuse first."""
        said = [f"{error.rule} refuses: {error.message}" for error in self.refused]
        if self.epsilon:
            said.append(f"each run spends ε {self.epsilon:g} of every table's privacy budget")
        for each in [] if self.report is None else self.report.outputs:
            hidden = [f"{entry.rule} hid {entry.cells:,}" for entry in each.suppressed]
            checked = ", ".join(each.checked) or "no rule"
            said.append(f"{each.output}: checked {checked}; {', '.join(hidden) or 'nothing hid'}")
        return said

    def to_pandas(self, output: str | None = None) -> pd.DataFrame:
        """Return an output as a data frame, of made-up rows.

        Parameters
        ----------
        output
            Name of the output; by default the first one.

        Raises
        ------
        NotFound
            There is no such output.
        """
        found = find_output(self.outputs, output, of="the dry run")
        frame: pd.DataFrame = as_arrow(found).to_pandas()
        return frame

    def _repr_html_(self) -> str:
        rows: dict[str, Shown] = {"Data": MOCK_DATA, **self.shapes, "Rules": self.rules}
        return card("Dry run", "on mock data", rows)


def dry_run(
    job: Job,
    *,
    tables: Mapping[str, Any] | None = None,
    policies: Sequence[Policy] = (),
) -> DryRun:
    """Compute a job on its tables' mocks, in this process, by the code that runs in the enclave.

    Keys of the mocks are numbered anew, so that the rows of all inputs find each other.

    Parameters
    ----------
    job
        The job.
    tables
        Tables or data frames to take instead of a mock, by the name of the input.
    policies
        What owners may demand; by default what a policy demands that says nothing about it.

    Returns
    -------
    DryRun
        Outputs of made-up rows, and what the rules would do.

    Raises
    ------
    ConfigurationError
        The enclave app is not installed here, or an owner is not connected.
    NotFound
        A table has no mock.
    InvalidJob
        The job does not fit its inputs; in a function of `Python`, with its own error.
    """
    document = job.document
    given = dict(tables or {})
    if unknown := set(given) - {entry.name for entry in document.inputs}:
        raise ConfigurationError(f"the job has no input {min(unknown)!r}")
    found = {
        entry.name: _as_table(given[entry.name])
        if entry.name in given
        else _mock(document, entry.name)
        for entry in document.inputs
    }
    program = _program()
    outputs, report, refused = program(
        document,
        {name: _with_keys(document, name, table) for name, table in found.items()},
        [policy.rules for policy in policies] or [_usual_rules()],
    )
    return DryRun(
        outputs=outputs,
        report=report,
        refused=(*refused, *_over_budget(document, policies)),
        epsilon=job_cost(document) / 10**PLACES,
    )


def _over_budget(document: JobDocument, policies: Sequence[Policy]) -> list[PolicyRefused]:
    """Return the refusals of policies whose whole privacy budget does not suffice."""
    cost = job_cost(document)
    return [
        PolicyRefused(
            f"the job spends {in_words(cost)}, and a policy gives {in_words(total)} in all",
            rule="privacy_budget",
        )
        for policy in policies
        if (total := millionths(policy.privacy_budget or 0)) < cost
    ]


def _program() -> Any:
    for entry in entry_points(group="clf.programs", name="dry_run"):
        try:
            return entry.load()
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"a dry run needs {error.name}", hint="pip install 'clf-sdk[enclave]'"
            ) from error
    raise ConfigurationError(
        "the enclave app is not installed here", hint="pip install 'clf-sdk[enclave]'"
    )


def _usual_rules() -> Rules:
    return Rules(
        smallest_group=DEFAULT_GROUP,
        dominance=[],
        round_counts=1,
        output_rows=None,
        output_bytes=None,
        differencing="off",  # made-up people differ from nobody
        row_level=[],
        release="at_once",
    )


def _as_table(frame: Any) -> pa.Table:
    return frame if isinstance(frame, pa.Table) else pa.table(frame)


def _mock(document: JobDocument, name: str) -> pa.Table:
    entry = next(entry for entry in document.inputs if entry.name == name)
    connections = connections_to([entry.server])
    if not connections:
        raise ConfigurationError(
            f"the owner of input {name!r} is not connected",
            hint="connect to it, or give a table of your own: tables={…}",
        )
    table = connections[0].table(entry.table)
    return (table if entry.columns is None else table.select(entry.columns)).mock()


def _with_keys(document: JobDocument, name: str, table: pa.Table) -> pa.Table:
    """Return a table whose key columns hold the numbers of the rows."""
    for node, _ in walk(document.align):
        if not isinstance(node, JoinNode):
            continue
        for member in node.members:
            if name not in inputs_of(member.of):
                continue
            for column in member.columns or [key.name for key in node.keys]:
                if column in table.column_names:
                    place = table.column_names.index(column)
                    table = table.set_column(
                        place, column, _numbered(table.num_rows, table.schema.field(column).type)
                    )
    return table


def _numbered(rows: int, kind: pa.DataType) -> pa.Array:
    """Return different values of a type, the same for all tables."""
    numbers = pa.array(range(rows), pa.int64())
    if pa.types.is_date32(kind):
        return numbers.cast(pa.int32()).cast(kind)
    if pa.types.is_date64(kind):
        return pa.array([day * 86_400_000 for day in range(rows)], pa.int64()).cast(kind)
    if pa.types.is_dictionary(kind):
        return numbers.cast(pa.string()).cast(kind.value_type).dictionary_encode().cast(kind)
    return numbers.cast(kind)
