"""A dry run: the code of a run, on mock data, in the analyst's process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from clf_enclave._compute import compute
from clf_enclave._disclosure import Disclosure
from clf_enclave._operations import Output, read_parameters
from clf_enclave._workspace import Workspace
from clf_sdk.errors import PolicyRefused
from clf_sdk.protocol import DisclosureReport, JobDocument, Rules

_SECRET = bytes(32)
"""Nothing is secret about mock data, and two dry runs give the same."""


def rehearse(
    job: JobDocument, tables: Mapping[str, pa.Table], rules: Sequence[Rules]
) -> tuple[dict[str, Output], DisclosureReport | None, list[PolicyRefused]]:
    """Compute a job on made-up tables.

    Parameters
    ----------
    job
        The job.
    tables
        A table for each input.
    rules
        Of the owners; they hold as in a run.

    Returns
    -------
    tuple
        The outputs by name; what was checked and hidden, None where a rule refuses; and the
        refusals.

    Raises
    ------
    InvalidJob
        The job does not fit its inputs.
    """
    disclosure = Disclosure()
    for number, each in enumerate(rules):
        disclosure.add(f"{number:064x}", each)
    row_level = read_parameters(job.operation.name, job.operation.parameters).row_level_outputs()
    refused: list[PolicyRefused] = []
    try:
        disclosure.check_outputs(job, row_level)
    except PolicyRefused as error:
        refused.append(error)
    with Workspace(job.memory_limit_bytes) as workspace:
        try:
            outputs, _ = compute(
                job,
                tables,
                workspace,
                disclosure,
                secret=_SECRET,
                report=_to_nobody,
                rehearsal=True,
            )
        except PolicyRefused as error:
            return {}, None, [*refused, error]
    return outputs, disclosure.report(outputs, row_level), refused


def _to_nobody(_event: str, _details: dict[str, Any]) -> None:
    """Take what a run tells its host."""
