"""What lies in images, and what must lie nowhere."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from _engine import DOCKER, Engine

# The engine writes these into each container.
_OF_THE_ENGINE = {".dockerenv", "etc/hosts", "etc/hostname", "etc/resolv.conf", "dev/console"}
_ROWS_LOOKED_FOR = 40


def files_of(engine: Engine, image: str) -> dict[str, str]:
    """Return kind, mode, owner and content's SHA-256 of each file in an image, by path."""
    container = engine.docker("create", image, "true").stdout.strip()
    found = {}
    try:
        with (
            subprocess.Popen(
                [DOCKER, "export", container], env=engine.environment, stdout=subprocess.PIPE
            ) as export,
            tarfile.open(fileobj=export.stdout, mode="r|") as archive,
        ):
            for member in archive:
                content = archive.extractfile(member) if member.isreg() else None
                what = (
                    hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type]
                    if content is not None
                    else member.linkname
                )
                found[member.name] = (
                    f"{member.type!r} {member.mode:o} {member.uid}:{member.gid} {what}"
                )
    finally:
        engine.docker("rm", container)
    return {name: what for name, what in found.items() if name not in _OF_THE_ENGINE}


def traces_of(tables: Iterable[pd.DataFrame]) -> list[bytes]:
    """Return how values of tables would show: texts, numbers in text, numbers in memory."""
    traces = set()
    for table in tables:
        for column in table.columns:
            for value in table[column].head(_ROWS_LOOKED_FOR):
                if isinstance(value, str):
                    traces.add(value.encode())
                else:
                    traces |= {repr(float(value)).encode(), np.float64(value).tobytes()}
    # `grep` takes one pattern a line.
    return sorted(trace for trace in traces if not {0, 10} & set(trace))


def find_traces(
    folder: Path, traces: Iterable[bytes], scratch: Path, *, since: Path | None = None
) -> list[str]:
    """Return the files below a folder that hold a trace.

    Parameters
    ----------
    folder
        Where to look.
    traces
        What to look for.
    scratch
        A directory of the caller's own.
    since
        A file: only what was written after it is looked at. The kernel notes that time for every
        file, and no container can set it back.
    """
    patterns = scratch / "patterns"
    patterns.write_bytes(b"\n".join(traces) + b"\n")
    newer = () if since is None else ("-cnewer", str(since))
    # What ends while it is looked for is not there any more; everything else that fails is shown.
    with subprocess.Popen(
        ["find", str(folder), "-ignore_readdir_race", "-type", "f", *newer, "-print0"],  # noqa: S607
        stdout=subprocess.PIPE,
    ) as listed:
        done = subprocess.run(
            [
                *("xargs", "-0", "--no-run-if-empty", "--max-procs", str(os.cpu_count() or 1)),
                *("--max-args", "1000", "grep", "--no-messages", "--files-with-matches", "--text"),
                *("--fixed-strings", "--file", str(patterns)),
            ],
            stdin=listed.stdout,
            env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert listed.returncode == 0
    # 123: some calls of grep found nothing; what grep could not read is not held against it.
    assert done.returncode in {0, 123}, done.stderr
    return done.stdout.splitlines()
