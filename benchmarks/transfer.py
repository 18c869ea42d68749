"""One table through CLF, Arrow Flight and encrypted Parquet, in one run.

``python -m benchmarks.transfer --size-mib 1024 --json``. Every repeat goes through all ways in
turn, so that a slow moment of the machine hits them alike; the first round only warms up.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import time
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

import clf_sdk as clf
from benchmarks._data import fingerprint, make_table, vary
from benchmarks._flight import BATCH_MIB, batch_rows, connect, put
from benchmarks._machine import measure_machine
from benchmarks._memory import MIB, PeakMemory, back_memory
from benchmarks._owner import TABLE, Owner, running_owner
from benchmarks._parquet import EncryptedParquet
from benchmarks._process import LineProcess
from benchmarks._report import Timings, summary, transfer_lines

_KINDS = ("tls", "plain")
_PLAIN_PARQUET: dict[str, Any] = {"compression": "none", "use_dictionary": False}


class _Ways:
    """Every way that the table can take, ready to be timed."""

    def __init__(self, owner: Owner, cleanup: contextlib.ExitStack, table: pa.Table) -> None:
        self._owner = owner
        self._schema = table.schema
        self._bytes = table.nbytes
        tls = owner.server.directory / "tls"
        ca = owner.folder / "ca.pem"
        ca.write_text(owner.server.owner.ca)
        self.share(table, Timings())  # a job can be submitted when its table is there
        request = owner.folder / "request.json"
        request.write_bytes(owner.request(table.column_names[0]).canonical())
        self.puller = cleanup.enter_context(
            LineProcess("benchmarks._puller", str(request), str(owner.simulation))
        )
        self.flight_server = cleanup.enter_context(
            LineProcess(
                "benchmarks._flight", "server", str(tls / "server.pem"), str(tls / "server.key")
            )
        )
        ports = self.flight_server.ready
        self.flight_reader = cleanup.enter_context(
            LineProcess("benchmarks._flight", "reader", str(ca), json.dumps(ports))
        )
        self._clients = {
            kind: connect(kind, port, owner.server.owner.ca) for kind, port in ports.items()
        }
        for client in self._clients.values():
            cleanup.callback(client.close)
        self._parquet = EncryptedParquet(owner.folder / "table.parquet", table.column_names)

    def _back(self) -> None:
        """Begin when nothing is left to do of what came before, and memory is there."""
        objects = self._owner.server.directory / "objects"
        while len(list(objects.iterdir())) > 1:  # the version that was replaced goes by itself
            time.sleep(0.01)
        os.sync()
        back_memory(self._bytes * 5 // 4)

    def share(self, table: pa.Table, timings: Timings) -> None:
        self._back()
        with timings.measure("share"):
            clf.share(
                table,
                name=TABLE,
                policy=self._owner.policy,
                to=self._owner.connection,
                progress=False,
            )

    def pull(self, timings: Timings) -> dict[str, Any]:
        self._back()
        answer = self.puller.ask(verify=True)
        timings.add("pull", answer["seconds"])
        timings.add("session", answer["session_seconds"])
        return answer

    def flight(self, table: pa.Table, timings: Timings) -> Iterator[str]:
        for kind in _KINDS:
            for mib in BATCH_MIB:
                rows = batch_rows(self._schema, mib)
                self._back()
                seconds = put(self._clients[kind], table, rows)
                timings.add(f"flight_put_{kind}", seconds, variant=mib)
            # The largest batches went in last: all sizes come out without a copy.
            for mib in BATCH_MIB:
                rows = batch_rows(self._schema, mib)
                self._back()
                answer = self.flight_reader.ask(kind=kind, rows=rows, verify=mib == BATCH_MIB[-1])
                timings.add(f"flight_get_{kind}", answer["seconds"], variant=mib)
            yield answer["fingerprint"]

    def parquet(self, table: pa.Table, timings: Timings) -> str:
        self._back()
        timings.add("parquet_write_fastest", self._parquet.write(table, **_PLAIN_PARQUET))
        self._back()
        timings.add("parquet_write", self._parquet.write(table))
        self._back()
        back, seconds = self._parquet.read()
        timings.add("parquet_read", seconds)
        return fingerprint(back)


def _round(ways: _Ways, table: pa.Table, timings: Timings, *, peers: bool) -> dict[str, Any]:
    """Send the table through every way, and check that each delivered the same values."""
    ways.share(table, timings)
    pulled = ways.pull(timings)
    delivered = {pulled["fingerprint"]}
    if peers:
        delivered.update(ways.flight(table, timings))
        delivered.add(ways.parquet(table, timings))
    if delivered != {fingerprint(table)}:
        raise RuntimeError("a transfer changed the values")
    return pulled


def run(size_mib: int, *, repeats: int = 5, peers: bool = True) -> dict[str, Any]:
    """Measure all transfers.

    Parameters
    ----------
    size_mib
        Arrow data of the table.
    repeats
        Rounds that count, after one that does not.
    peers
        Whether to measure Flight and Parquet too; without them there are no ratios.
    """
    timings = Timings()
    table = make_table(size_mib)
    overheads = []
    with contextlib.ExitStack() as cleanup:
        owner = cleanup.enter_context(running_owner())
        ways = _Ways(owner, cleanup, table)
        server_pid = owner.server.pid or 0
        server = cleanup.enter_context(PeakMemory(server_pid))
        peak = {
            name: cleanup.enter_context(PeakMemory(process.pid))
            for name, process in (
                ("enclave", ways.puller),
                ("flight_server", ways.flight_server),
                ("flight_reader", ways.flight_reader),
            )
        }
        kept = _round(ways, vary(table, 1), Timings(), peers=peers)["kept_bytes"]
        for number in range(repeats):
            _round(ways, vary(table, number + 2), timings, peers=peers)
    overheads.append(peak["enclave"].total_bytes / kept - 1)
    memory: dict[str, Any] = {
        "server_mib": server.total_bytes / MIB,
        "server_anonymous_mib": server.anonymous_bytes / MIB,
        "enclave_overhead_percent": 100 * max(overheads),
        "enclave_kept_mib": kept / MIB,
        "processes": {
            name: {
                "total_mib": measured.total_bytes / MIB,
                "anonymous_mib": measured.anonymous_bytes / MIB,
            }
            for name, measured in peak.items()
        },
    }
    return summary(table, timings, memory, measure_machine(), size_mib=size_mib, repeats=repeats)


def main() -> None:
    """Print JSON, or a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transfer", description=__doc__)
    parser.add_argument("--size-mib", type=int, default=1024, help="Arrow data of the table")
    parser.add_argument("--repeats", type=int, default=5, help="rounds that count")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--no-peers", action="store_true", help="measure CLF alone")
    chosen = parser.parse_args()
    found = run(chosen.size_mib, repeats=chosen.repeats, peers=not chosen.no_peers)
    if chosen.json:
        print(json.dumps(found))
    else:
        print("\n".join(transfer_lines(found)))


if __name__ == "__main__":
    main()
