"""Memory of a process, as Linux counts it, and of the machine."""

from __future__ import annotations

import mmap
import threading
from pathlib import Path
from typing import Self

MIB = 1 << 20
_SAMPLE_SECONDS = 0.02
_RESET_PEAK = "5"


def back_memory(size: int) -> None:
    """Have the machine hold this much free memory that is really there.

    Hypervisors take freed memory back from a virtual machine after some seconds, and give it again
    at 0.3 GB/s. Whichever way comes first after a pause would be measured by that; so each is given
    memory that was touched a moment ago.

    Parameters
    ----------
    size
        Bytes; touched and freed.
    """
    step = mmap.PAGESIZE
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as area:
        area.madvise(mmap.MADV_HUGEPAGE)
        for offset in range(0, size, step):
            area[offset] = 1


def _status(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return 0


def resident_bytes(pid: int) -> int:
    """Resident memory, pages of mapped files included."""
    return _status(pid, "VmRSS")


class PeakMemory:
    """How far the memory of a process rises above what it holds at the start of the block.

    The total is the kernel's own high-water mark, so nothing slips between two samples. It counts
    pages of mapped files, which the kernel can take back at any time; the anonymous part, which it
    can't, is sampled.

    Attributes
    ----------
    total_bytes, anonymous_bytes
        Rise of the peak; set when the block ends.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._stop = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._peak_anonymous = 0
        self.total_bytes = 0
        self.anonymous_bytes = 0

    def _sample(self) -> None:
        while not self._stop.wait(_SAMPLE_SECONDS):
            self._peak_anonymous = max(self._peak_anonymous, _status(self._pid, "RssAnon"))

    def __enter__(self) -> Self:
        Path(f"/proc/{self._pid}/clear_refs").write_text(_RESET_PEAK)
        self._idle = resident_bytes(self._pid)
        self._idle_anonymous = self._peak_anonymous = _status(self._pid, "RssAnon")
        self._sampler.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._sampler.join()
        self.total_bytes = max(0, _status(self._pid, "VmHWM") - self._idle)
        self.anonymous_bytes = max(0, self._peak_anonymous - self._idle_anonymous)
