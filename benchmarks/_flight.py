"""Arrow Flight, the peer: a server and a reader, each in a process of its own.

``server CERTIFICATE KEY`` keeps the last table that was put, in memory, and gives it in batches of
any smaller size; ``reader CA`` gets it as a table.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import flight

from benchmarks._data import fingerprint
from benchmarks._process import serve_lines

BATCH_MIB = (1, 4, 16)
_DESCRIPTOR = flight.FlightDescriptor.for_path("table")


def batch_rows(schema: pa.Schema, mib: int) -> int:
    """Rows of a batch of that size, for columns of 8 bytes."""
    return max(1, (mib << 20) // (8 * len(schema)))


class _Server(flight.FlightServerBase):  # type: ignore[misc]  # pyarrow ships no types
    def __init__(self, location: str, kept: dict[str, pa.Table], **options: Any) -> None:
        super().__init__(location, **options)
        self._kept = kept

    def do_put(
        self,
        _context: Any,
        _descriptor: Any,
        reader: flight.MetadataRecordBatchReader,
        _writer: Any,
    ) -> None:
        self._kept.clear()
        self._kept["table"] = reader.read_all()

    def do_get(self, _context: Any, ticket: flight.Ticket) -> flight.RecordBatchStream:
        table = self._kept["table"]
        batches: Iterator[pa.RecordBatch] = iter(table.to_batches(int(ticket.ticket)))
        return flight.RecordBatchStream(pa.RecordBatchReader.from_batches(table.schema, batches))


def serve(certificate: str, key: str) -> None:
    """Serve plain and with TLS, from one table."""
    kept: dict[str, pa.Table] = {}
    pair = (Path(certificate).read_bytes(), Path(key).read_bytes())
    plain = _Server("grpc://127.0.0.1:0", kept)
    tls = _Server("grpc+tls://127.0.0.1:0", kept, tls_certificates=[pair])
    for server in (plain, tls):
        threading.Thread(target=server.serve, daemon=True).start()
    serve_lines({"plain": plain.port, "tls": tls.port}, lambda _: {})


def connect(kind: str, port: int, ca: str) -> flight.FlightClient:
    """Connect to either listener."""
    if kind == "plain":
        return flight.FlightClient(f"grpc://127.0.0.1:{port}")
    return flight.FlightClient(f"grpc+tls://127.0.0.1:{port}", tls_root_certs=ca.encode())


def put(client: flight.FlightClient, table: pa.Table, rows: int) -> float:
    """Put a table in batches of so many rows, until the server has it; return the seconds."""
    started = time.perf_counter()
    writer, _ = client.do_put(_DESCRIPTOR, table.schema)
    with writer:
        writer.write_table(table, max_chunksize=rows)
    return time.perf_counter() - started


def read(ca: str, ports: dict[str, int]) -> None:
    """Get the table each time it is asked to."""
    clients = {kind: connect(kind, port, ca) for kind, port in ports.items()}

    def handle(asked: dict[str, Any]) -> dict[str, Any]:
        started = time.perf_counter()
        ticket = flight.Ticket(str(asked["rows"]).encode())
        table = clients[asked["kind"]].do_get(ticket).read_all()
        answer: dict[str, Any] = {"seconds": time.perf_counter() - started}
        if asked.get("verify"):
            answer["fingerprint"] = fingerprint(table)
        return answer

    serve_lines({}, handle)


if __name__ == "__main__":
    if sys.argv[1] == "server":
        serve(*sys.argv[2:])
    else:
        read(Path(sys.argv[2]).read_text(), json.loads(sys.argv[3]))
