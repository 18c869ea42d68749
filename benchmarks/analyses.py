"""What analyses cost in an enclave, against the same on plain data in one process.

``python -m benchmarks.analyses --json``. Everything is measured in one run, the two sides of each
comparison in turn. The enclave app runs in simulation mode, in a process of its own, with real
servers.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

import clf_sdk as clf
from benchmarks._memory import resident_bytes
from benchmarks._owner import Owner, run_request, running_owners
from benchmarks._process import LineProcess
from benchmarks._report import spread
from benchmarks._runner import KEY, OUTCOME
from clf_enclave._alignment import align
from clf_enclave._workspace import Workspace
from clf_sdk.operations import OPERATIONS, parameters_class

_SEED = 4
_COLUMNS = 20
_GIB = 1 << 30
_BATCH_ROWS = 1 << 18
_OWNERS_JOINED = 3


def _frames(rows: int) -> list[pd.DataFrame]:
    """Two tables of one person a row, in different orders, that explain a yes or no."""
    rng = np.random.default_rng(_SEED)
    values = rng.normal(size=(rows, 2 * _COLUMNS))
    linear = values[:, :4].sum(axis=1) / 2
    frames = []
    for number in range(2):
        columns = {f"x{number}_{i}": values[:, number * _COLUMNS + i] for i in range(_COLUMNS)}
        frame = pd.DataFrame({KEY: np.arange(rows), **columns})
        if not number:
            frame[OUTCOME] = (rng.random(rows) < 1 / (1 + np.exp(-linear))).astype(float)
        frames.append(frame.sample(frac=1, random_state=number).reset_index(drop=True))
    return frames


def _share(owners: list[Owner], tables: list[Any]) -> list[clf.SharedTable]:
    return [
        clf.share(table, name=f"t{n}", policy=owner.policy, to=owner.connection, progress=False)
        for n, (owner, table) in enumerate(zip(owners, tables, strict=True))
    ]


def _request(owners: list[Owner], job: clf.Job, name: str) -> str:
    path = owners[0].folder / f"{name}.json"
    path.write_bytes(run_request(owners, job).canonical())
    return str(path)


def whole_run(rows: int, repeats: int) -> dict[str, Any]:
    """Compare a logistic regression over two owners with the fit of frames in memory."""
    frames = _frames(rows)
    with running_owners(2, operations=["glm"]) as owners:
        tables = _share(owners, frames)
        job = clf.Job(
            name="whole",
            inputs=tables,
            on=KEY,
            operation=clf.GLM(outcome=OUTCOME, family="binomial"),
            enclave=owners[0].policy.enclave,
            analyst=owners[0].analyst,
        )
        request = _request(owners, job, "whole")
        paths = [str(owners[0].folder / f"frame{number}.parquet") for number in range(2)]
        for frame, path in zip(frames, paths, strict=True):
            frame.to_parquet(path)
        del frames
        joint, pooled, stages = [], [], {}
        with (
            LineProcess("benchmarks._runner", str(owners[0].simulation)) as enclave,
            LineProcess("benchmarks._runner", str(owners[0].simulation)) as plain,
        ):
            for number in range(repeats + 1):  # the first warms up
                ran = enclave.ask(request=request)
                fitted = plain.ask(frames=paths)
                if number:
                    joint.append(ran["seconds"])
                    pooled.append(fitted["seconds"])
                    stages = ran["stages"]
    return {
        "rows": rows,
        "columns": _COLUMNS,
        "joint_seconds": spread(joint),
        "pooled_seconds": spread(pooled),
        "stages_seconds": stages,
        "ratio": statistics.median(joint) / statistics.median(pooled),
    }


def join(rows: int, repeats: int) -> dict[str, Any]:
    """Compare the alignment of three pulled tables with DuckDB's join of plain Parquet files."""
    rng = np.random.default_rng(_SEED)
    names = [f"t{number}" for number in range(_OWNERS_JOINED)]
    tables = {
        name: pa.table({KEY: rng.permutation(rows), f"x_{name}": rng.normal(size=rows)})
        for name in names
    }
    tree = clf.align.join(*names, on=KEY)
    ours, theirs = [], []
    with tempfile.TemporaryDirectory(prefix="clf-bench-") as folder:
        for name, table in tables.items():
            pq.write_table(table, f"{folder}/{name}.parquet")
        first, *others = (f"'{folder}/{name}.parquet'" for name in names)
        joins = " ".join(f"JOIN {other} USING ({KEY})" for other in others)
        for number in range(repeats + 1):
            started = time.perf_counter()
            with Workspace() as workspace:
                aligned = align(workspace, tree, tables, entities={}).data
                if aligned.rows != rows:
                    raise RuntimeError("the join lost rows")
            middle = time.perf_counter()
            with duckdb.connect() as plain:
                plain.execute(f"CREATE TABLE joined AS SELECT * FROM {first} {joins}")  # noqa: S608 - paths of ours
            ended = time.perf_counter()
            if number:
                ours.append(middle - started)
                theirs.append(ended - middle)
    return {
        "rows": rows,
        "owners": _OWNERS_JOINED,
        "joint_seconds": spread(ours),
        "duckdb_parquet_seconds": spread(theirs),
        "ratio": statistics.median(ours) / statistics.median(theirs),
    }


def _large(size_bytes: int) -> pa.RecordBatchReader:
    """Stream a table of that size: who, in which group, and seven numbers."""
    rng = np.random.default_rng(_SEED)
    schema = pa.schema(
        [(KEY, pa.int64()), ("region", pa.int64())]
        + [(f"v{number}", pa.float64()) for number in range(7)]
    )
    rows = size_bytes // (len(schema) * 8)

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, rows, _BATCH_ROWS):
            count = min(_BATCH_ROWS, rows - start)
            values = [rng.normal(size=count) for _ in range(7)]
            keys = [np.arange(start, start + count), rng.integers(0, 100, count)]
            yield pa.RecordBatch.from_arrays(
                [pa.array(each) for each in keys + values], schema=schema
            )

    return pa.RecordBatchReader.from_batches(schema, batches())


def aggregate(size_gib: float, memory_gib: float) -> dict[str, Any]:
    """Aggregate a sealed table that is larger than the memory which the job may use."""
    with running_owners(1, operations=["aggregate"]) as owners:
        started = time.perf_counter()
        tables = _share(owners, [_large(int(size_gib * _GIB))])
        shared = time.perf_counter()
        sql = "SELECT region, count(*) AS n, avg(v0) AS mean, sum(v1) AS total FROM data "
        job = clf.Job(
            name="aggregate",
            inputs=tables,
            operation=parameters_class("aggregate").parse({"sql": sql + "GROUP BY region"}),
            enclave=owners[0].policy.enclave,
            analyst=owners[0].analyst,
            memory_limit_bytes=int(memory_gib * _GIB),
        )
        request = _request(owners, job, "aggregate")
        with LineProcess("benchmarks._runner", str(owners[0].simulation)) as enclave:
            idle = resident_bytes(enclave.pid)
            ran = enclave.ask(request=request)
            status = Path(f"/proc/{enclave.pid}/status").read_text("ascii")
            peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return {
        "size_gib": size_gib,
        "memory_limit_gib": memory_gib,
        "share_seconds": shared - started,
        "seconds": ran["seconds"],
        "idle_gib": idle / _GIB,
        "peak_gib": int(peak.split()[1]) * 1024 / _GIB,
    }


def run(
    *, rows: int, join_rows: int, repeats: int, size_gib: float, memory_gib: float
) -> dict[str, Any]:
    """Measure everything."""
    found = {"whole_run": whole_run(rows, repeats), "join": join(join_rows, repeats)}
    if "aggregate" in OPERATIONS:
        found["aggregate"] = aggregate(size_gib, memory_gib)
    return found


def _lines(found: dict[str, Any]) -> list[str]:
    whole, joined = found["whole_run"], found["join"]
    lines = [
        f"{'':<66} {'measured':>8}  target",
        (
            f"{'joint logistic regression / pooled fit in memory':<66} {whole['ratio']:8.2f}"
            "  at most 1.5"
        ),
        (
            f"{'alignment of three owners / DuckDB on plain Parquet files':<66} "
            f"{joined['ratio']:8.2f}  at most 2"
        ),
    ]
    if "aggregate" in found:
        large = found["aggregate"]
        what = f"aggregate over {large['size_gib']:g} GiB, {large['memory_limit_gib']:g} GiB limit"
        lines.append(f"{what + ', peak GiB':<66} {large['peak_gib']:8.2f}  under 1.3")
    return lines


def main() -> None:
    """Print JSON, or a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.analyses", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of each of two owners")
    parser.add_argument("--join-rows", type=int, default=5_000_000, help="of each of three owners")
    parser.add_argument("--repeats", type=int, default=3, help="rounds that count")
    parser.add_argument(
        "--size-gib", type=float, default=10, help="of the table that is aggregated"
    )
    parser.add_argument("--memory-gib", type=float, default=1, help="that the aggregate may use")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    found = run(
        rows=chosen.rows,
        join_rows=chosen.join_rows,
        repeats=chosen.repeats,
        size_gib=chosen.size_gib,
        memory_gib=chosen.memory_gib,
    )
    print(json.dumps(found) if chosen.json else "\n".join(_lines(found)))


if __name__ == "__main__":
    main()
