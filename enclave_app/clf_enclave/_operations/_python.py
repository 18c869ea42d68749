"""``python``: a function whose source is in the job, so in the digest that every owner approved.

Reveals: whatever the function returns, up to a number of rows and bytes. No rule about groups is
applied to it; it counts as rows of single people. docs/operations.md says what it is kept from,
and what it is not.
"""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from clf_enclave._operations._context import Context
from clf_enclave._operations._outputs import Output
from clf_enclave._sandbox import Limits, call
from clf_sdk.errors import InvalidJob
from clf_sdk.operations import Python


def _document(name: str, value: dict[Any, Any]) -> tuple[dict[str, Any], int]:
    """Return a document that JSON can hold, and its size."""
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise InvalidJob(
            f"python: output {name!r} is not made of JSON values",
            hint="use float(…), int(…) and tolist() on what numpy gives; NaN and infinity are none",
        ) from None
    made: dict[str, Any] = json.loads(text)
    return made, len(text)


def run(context: Context[Python]) -> dict[str, Output]:
    """Call the function of the job.

    Returns
    -------
    dict
        The outputs that the job names, tables and documents.

    Raises
    ------
    InvalidJob
        The function failed, reached a limit, or returns something else than the job says.
    PolicyRefused
        The table has fewer people than the smallest group.
    """
    chosen, data = context.parameters, context.data
    context.disclosure.check_group(data)
    table = data.table(None if chosen.columns is None else list(chosen.columns))
    limits = Limits(
        chosen.time_limit_seconds, chosen.memory_limit_bytes, rehearsal=context.rehearsal
    )
    arguments = json.loads(json.dumps(chosen.arguments))
    found = call(chosen.source, chosen.function, [table, arguments], limits)
    if type(found) is not dict or sorted(map(str, found)) != sorted(chosen.outputs):
        raise InvalidJob(
            "python: the function returns something else than the job's outputs",
            hint="return a dictionary with a table or a dictionary for each of outputs",
        )
    outputs: dict[str, Output] = {}
    rows = size = 0
    for name in chosen.outputs:
        value = found[name]
        if isinstance(value, pa.Table):
            # What is not shown must not travel either: a slice keeps the buffers it was cut from.
            whole = pa.concat_tables([value]).combine_chunks()
            outputs[name] = whole.take(pa.array(range(whole.num_rows), pa.int64()))
            rows += whole.num_rows
            size += whole.get_total_buffer_size()
        elif type(value) is dict:
            outputs[name], length = _document(name, value)
            size += length
        else:
            raise InvalidJob(f"python: output {name!r} is neither a table nor a dictionary")
    if rows > chosen.most_rows or size > chosen.most_bytes:
        raise InvalidJob(
            "python: the outputs are larger than the job allows",
            hint="return less, or let owners approve more by most_rows and most_bytes",
        )
    return outputs
