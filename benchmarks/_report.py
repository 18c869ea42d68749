"""From seconds to figures, and from figures to lines of a table."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

_GB = 1e9


class Timings:
    """Seconds of every repeat, by what was done and in which variant."""

    def __init__(self) -> None:
        self._seconds: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))

    def add(self, name: str, seconds: float, *, variant: int = 0) -> None:
        """Note one repeat."""
        self._seconds[name][variant].append(seconds)

    @contextlib.contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Time a block."""
        started = time.perf_counter()
        yield
        self.add(name, time.perf_counter() - started)

    def best(self, name: str) -> tuple[int, list[float]]:
        """Return the variant with the lowest median, and its seconds."""
        variants = self._seconds[name]
        fastest = min(variants, key=lambda variant: statistics.median(variants[variant]))
        return fastest, variants[fastest]

    def names(self) -> list[str]:
        """Everything that was timed."""
        return list(self._seconds)


def spread(values: list[float]) -> dict[str, float]:
    """Least, median and greatest."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def summary(
    table: pa.Table,
    timings: Timings,
    memory: dict[str, Any],
    machine: dict[str, float],
    *,
    size_mib: int,
    repeats: int,
) -> dict[str, Any]:
    """Put the figures of the transfers into one JSON object."""
    seconds = {name: timings.best(name)[1] for name in timings.names()}
    speeds = {
        name: spread([table.nbytes / _GB / each for each in values])
        for name, values in seconds.items()
        if name != "session"
    }
    median = {name: speed["median"] for name, speed in speeds.items()}
    ratios = {}
    if "flight_get_tls" in median:
        ratios = {
            "pull_vs_flight_tls": median["pull"] / median["flight_get_tls"],
            "pull_vs_flight_plain": median["pull"] / median["flight_get_plain"],
            "share_vs_flight_tls": median["share"] / median["flight_put_tls"],
            "share_vs_encrypted_parquet": median["share"] / median["parquet_write"],
            "share_vs_encrypted_parquet_fastest": median["share"] / median["parquet_write_fastest"],
        }
    return {
        "size_mib": size_mib,
        "arrow_bytes": table.nbytes,
        "rows": table.num_rows,
        "columns": table.num_columns,
        "repeats": repeats,
        "gb_per_second": speeds,
        "flight_batch_mib": {
            name: timings.best(name)[0] for name in speeds if name.startswith("flight_")
        },
        "session_seconds": spread(seconds["session"]),
        "ratios": ratios,
        "memory": memory,
        "machine": machine,
    }


_MACHINE = {
    "open_gb_per_second": "the machine's cipher alone, opening on one core",
    "seal_gb_per_second": "the machine's cipher alone, sealing on one core",
    "hash_gb_per_second": "its hash alone, on one core",
    "loopback_gb_per_second": "its loopback alone, from a cached file",
    "disk_gb_per_second": "its disk alone, written and synced",
    "pull_limit_gb_per_second": "what cipher, hash and loopback allow a pull, on all cores",
    "share_limit_gb_per_second": "what these and the disk allow a share, on all cores",
}
_SPEEDS = {
    "share": "share() over HTTPS",
    "pull": "attested pull, session included",
    "flight_put_tls": "Flight do_put, TLS",
    "flight_get_tls": "Flight do_get, TLS",
    "flight_put_plain": "Flight do_put, plain",
    "flight_get_plain": "Flight do_get, plain",
    "parquet_write": "encrypted Parquet, written (pyarrow's defaults)",
    "parquet_write_fastest": "encrypted Parquet, written (uncompressed, no dictionary)",
    "parquet_read": "encrypted Parquet, read",
}
_TARGETS = (
    ("ratios", "pull_vs_flight_tls", "attested pull / Flight do_get with TLS", "at least 2"),
    ("ratios", "pull_vs_flight_plain", "attested pull / plain Flight do_get", "at least 1"),
    ("ratios", "share_vs_flight_tls", "share() / Flight do_put with TLS", "at least 0.8"),
    ("ratios", "share_vs_encrypted_parquet", "share() / writing encrypted Parquet", "at least 3"),
    ("memory", "server_mib", "server's peak above idle, MiB", "at most 200"),
    ("memory", "enclave_overhead_percent", "enclave's peak above the data, %", "at most 25"),
)


def transfer_lines(found: dict[str, Any]) -> list[str]:
    """Lines of the table for the transfers."""
    head = f"{found['size_mib']} MiB of Arrow data, {found['columns']} columns"
    lines = [f"{head + ', GB/s':<58} {'median':>8} {'min':>8} {'max':>8}"]
    for name, shown in _SPEEDS.items():
        if speed := found["gb_per_second"].get(name):
            batch = found["flight_batch_mib"].get(name)
            label = f"{shown}, {batch} MiB" if batch else shown
            lines.append(
                f"{label:<58} {speed['median']:8.2f} {speed['min']:8.2f} {speed['max']:8.2f}"
            )
    lines += [f"{label:<58} {found['machine'][name]:8.2f}" for name, label in _MACHINE.items()]
    lines += ["", f"{'':<58} {'measured':>8}  target"]
    for part, name, label, target in _TARGETS:
        if name in found[part]:
            lines.append(f"{label:<58} {found[part][name]:8.2f}  {target}")
    return lines


def attestation_lines(found: dict[str, Any]) -> list[str]:
    """Lines of the table for sessions."""
    return [
        (
            f"{'attested sessions a second, one after the other':<58} "
            f"{found['sessions_per_second']:8.0f}"
        ),
        (
            f"{'attested session / one bare quote verification':<58} "
            f"{found['session_over_verification']:8.2f}  at most 10"
        ),
    ]
