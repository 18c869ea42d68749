"""Run operations on tables in this process, the way an enclave does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from clf_enclave._alignment import Input
from clf_enclave._compute import compute
from clf_enclave._disclosure import Disclosure
from clf_enclave._operations import Output
from clf_enclave._spill import Stream
from clf_enclave._workspace import Workspace
from clf_sdk.operations import Parameters
from clf_sdk.protocol import LEAST_MEMORY_BYTES, AlignNode, InputNode, PrepareStep, Rules
from clf_testing._jobs import job_input, make_job

SECRET = bytes(range(32))


class MemoryStream(Stream):
    """A table that is read in small batches, as an input that does not fit in memory is."""

    def __init__(self, table: pa.Table, batch_rows: int = 100) -> None:
        self._table = table
        self._batch_rows = batch_rows
        self.schema = table.schema
        self.rows = table.num_rows

    def batches(self) -> Iterator[pa.RecordBatch]:
        """See `Stream.batches`."""
        yield from self._table.to_batches(max_chunksize=self._batch_rows)


def demand(**changes: Any) -> Rules:
    """Return the rules of one owner; by default none limits."""
    fields: dict[str, Any] = {
        "smallest_group": 1,
        "dominance": [],
        "round_counts": 1,
        "output_rows": None,
        "output_bytes": None,
        "differencing": "off",
        "row_level": [],
        "release": "at_once",
    }
    return Rules(**(fields | changes))


def demanding(*rules: Rules) -> Disclosure:
    """Return what several owners demand together."""
    disclosure = Disclosure()
    for number, each in enumerate(rules or (demand(),)):
        disclosure.add(f"{number:064x}", each)
    return disclosure


def operate(
    parameters: Parameters,
    tables: pa.Table | Mapping[str, pa.Table],
    *,
    align: AlignNode | None = None,
    prepare: Sequence[PrepareStep] = (),
    rules: Sequence[Rules] = (),
    disclosure: Disclosure | None = None,
    streamed: bool = False,
    **job: Any,
) -> dict[str, Output]:
    """Compute a job on tables, and return its outputs.

    Parameters
    ----------
    parameters
        The operation.
    tables
        One table, which is called ``data``, or several by name; then `align` says how they join.
    align, prepare
        Of the job.
    rules
        Of each owner; by default nothing limits.
    disclosure
        Instead of rules, to look at afterwards.
    streamed
        Whether the tables are treated as larger than memory.
    job
        Other fields of the job.
    """
    named = {"data": tables} if isinstance(tables, pa.Table) else dict(tables)
    inputs = [job_input(f"{number:064x}", name) for number, name in enumerate(named)]
    given: Mapping[str, Input] = named
    if streamed:
        given = {name: MemoryStream(table) for name, table in named.items()}
        job.setdefault("memory_limit_bytes", LEAST_MEMORY_BYTES)
    document = make_job(
        inputs,
        operation=parameters.operation,
        parameters=parameters.to_json(),
        align=align or InputNode(kind="input", input=next(iter(named))),
        prepare=list(prepare),
        **job,
    )
    with Workspace() as workspace:
        outputs, _ = compute(
            document,
            given,
            workspace,
            disclosure or demanding(*rules),
            secret=SECRET,
            report=lambda _event, _details: None,
        )
    return outputs
