"""How a mock travels: as an Arrow stream in a JSON document (docs/protocol.md §11.6)."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from clf_sdk.errors import InvalidInput
from clf_sdk.protocol import TableMock


def mock_to_document(table: pa.Table) -> dict[str, Any]:
    """Return a mock as JSON can hold it."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return TableMock(arrow=sink.getvalue().to_pybytes()).to_json()


def mock_from_document(document: TableMock) -> pa.Table:
    """Read a mock.

    Raises
    ------
    InvalidInput
        It is no table.
    """
    try:
        table = pa.ipc.open_stream(document.arrow).read_all()
        table.validate(full=True)
    except (pa.ArrowException, ValueError, OSError):
        raise InvalidInput("this is no mock of a table") from None
    return table
