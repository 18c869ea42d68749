"""From the inputs of a job to its outputs: align, prepare, run the operation.

Nothing here opens a session or knows of the network, so that a dry run on mock data goes the same
way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import pyarrow as pa

from clf_enclave._alignment import (
    MATCH_REPORT,
    Aligned,
    Input,
    align,
    align_streams,
    match_report,
)
from clf_enclave._disclosure import Disclosure
from clf_enclave._moments import within_reach
from clf_enclave._operations import Output, read_parameters, run_operation
from clf_enclave._preparation import prepare
from clf_enclave._privacy import bound_people
from clf_enclave._spill import Stream
from clf_enclave._workspace import Workspace
from clf_sdk.errors import InvalidJob
from clf_sdk.operations import PrivateStatistics
from clf_sdk.protocol import JobDocument

Report: TypeAlias = Callable[[str, dict[str, Any]], None]
"""``report(event, details)``: what the host may know: never rows, values or counts of people."""


def compute(
    job: JobDocument,
    tables: Mapping[str, Input],
    workspace: Workspace,
    disclosure: Disclosure,
    *,
    secret: bytes,
    report: Report,
    rehearsal: bool = False,
) -> tuple[dict[str, Output], int | None]:
    """Compute a job.

    Parameters
    ----------
    job
        The job.
    tables
        Its inputs by name: tables, or, if they are too large for the job's memory limit, streams.
    workspace
        Where it is computed.
    disclosure
        The owners' rules.
    secret
        Source of all randomness, 32 bytes.
    report
        Called after each stage.
    rehearsal
        Whether this is a dry run on mock data, in a process of the analyst's.

    Returns
    -------
    tuple
        The outputs by name, and the number of aligned rows as the receipt may tell it: None where
        the results carry noise.

    Raises
    ------
    InvalidJob
        The job does not fit its inputs.
    PolicyRefused
        A result would disclose more than all owners allow.
    """
    parameters = read_parameters(job.operation.name, job.operation.parameters)
    started = time.perf_counter()
    apart = parameters.inputs_beside()
    beside = {name: _whole(tables[name]) for name in apart}
    tables = {name: within_reach(table) for name, table in tables.items() if name not in apart}
    if isinstance(parameters, PrivateStatistics):
        tables = bound_people(job, parameters, tables, workspace, disclosure)
    aligned = _align(job, tables, workspace, disclosure)
    disclosure.check_group(aligned.data)
    report("aligned", {"seconds": time.perf_counter() - started})
    started = time.perf_counter()
    data = prepare(aligned.data, job.prepare, disclosure)
    disclosure.check_group(data)
    disclosure.begin_operation()
    outputs = run_operation(
        parameters, data, disclosure, secret=secret, beside=beside, rehearsal=rehearsal
    )
    disclosure.end_operation(data)
    if job.match_report:
        if MATCH_REPORT in outputs:
            raise InvalidJob(f"the operation has an output {MATCH_REPORT!r} of its own")
        outputs[MATCH_REPORT] = match_report(aligned.data, aligned.persons, disclosure)
    for name, output in outputs.items():
        if isinstance(output, pa.Table):
            # Sealing adds a little, and is checked again; this spares it for what is far too large.
            disclosure.check_sizes(name, rows=output.num_rows, size_bytes=output.nbytes)
    report(
        "computed", {"operation": parameters.operation, "seconds": time.perf_counter() - started}
    )
    return outputs, None if disclosure.noised else disclosure.shown_count(aligned.data.rows)


def _whole(table: Input) -> pa.Table:
    return (
        pa.Table.from_batches(table.batches(), table.schema) if isinstance(table, Stream) else table
    )


def _align(
    job: JobDocument, tables: Mapping[str, Input], workspace: Workspace, disclosure: Disclosure
) -> Aligned:
    streams = {name: table for name, table in tables.items() if isinstance(table, Stream)}
    if not streams:
        return align(
            workspace,
            job.align,
            tables,
            entities=disclosure.entities,
            hidden=disclosure.hidden_entities,
            remembered=disclosure.remembered,
            matches=job.match_report,
        )
    if job.memory_limit_bytes is None or len(streams) != len(tables):
        raise ValueError("streams are for jobs with a memory limit, and for all inputs or none")
    return align_streams(
        workspace,
        job.align,
        streams,
        entities=disclosure.entities,
        hidden=disclosure.hidden_entities,
        remembered=disclosure.remembered,
        matches=job.match_report,
        folder=workspace.folder,
        memory_limit_bytes=job.memory_limit_bytes,
    )
