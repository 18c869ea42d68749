"""Stop a function that takes too long or too much, and whatever it does beside computing."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import resource
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_GRACE_SECONDS = 5.0
_STATE = threading.local()
_INSTALLED: list[bool] = []


class Stopped(BaseException):
    """A limit was reached. No `Exception`, so that no library takes it for an error of its own."""


class _Refused(Stopped):
    """What the audit hook raises."""

    def __init__(self) -> None:
        super().__init__("the function did something else than compute")


def _audit(_event: str, _arguments: tuple[Any, ...]) -> None:
    if getattr(_STATE, "watched", False):
        _STATE.refused = True
        raise _Refused


@contextlib.contextmanager
def nothing_but_computing() -> Iterator[None]:
    """Refuse every audited act of this thread: files, sockets, processes, imports, ctypes, frames.

    A hook can't be removed any more (PEP 578); outside of this block it lets everything pass.

    Raises
    ------
    Stopped
        There was such an act, even if what it was called by went on without it.
    """
    if not _INSTALLED:
        sys.addaudithook(_audit)
        _INSTALLED.append(True)
    _STATE.refused, _STATE.watched = False, True
    try:
        yield
    finally:
        _STATE.watched = False
    if _STATE.refused:
        raise _Refused


class TimeLimit:
    """Stops a function after some time, and the process if that does not help. Used as a block.

    The function calls `tick` in each of its loops and calls (see `Guarded`). A call that never
    comes back from a library is ended with the whole process a little later, by a thread that
    needs no interpreter lock: a run has a process of its own, and nothing of it was sealed yet.

    Parameters
    ----------
    seconds
        How long.
    end_process
        Whether the process may be ended.
    """

    def __init__(self, seconds: float, *, end_process: bool) -> None:
        self._seconds = seconds
        self._ends = time.monotonic() + seconds
        self._end_process = end_process
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._ends = time.monotonic() + self._seconds
        if self._end_process:
            nowhere = self._stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
            faulthandler.dump_traceback_later(
                self._seconds + _GRACE_SECONDS, exit=True, file=nowhere
            )
            self._stack.callback(faulthandler.cancel_dump_traceback_later)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()
        if error is None:
            self.tick()

    def tick(self) -> bool:
        """Return true, as a condition that always holds.

        Raises
        ------
        Stopped
            The time is up.
        """
        if time.monotonic() > self._ends:
            raise Stopped("the function took longer than the job allows")
        return True


@contextlib.contextmanager
def memory_limit(further_bytes: int) -> Iterator[None]:
    """Let the process have so much more address space than it has.

    Where the system does not know or keep such a limit, the size of the enclave is the limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        wanted = pages * resource.getpagesize() + further_bytes
        within = [each for each in (soft, hard) if each != resource.RLIM_INFINITY]
        resource.setrlimit(resource.RLIMIT_AS, (min([wanted, *within]), hard))
    except (OSError, ValueError):
        yield
        return
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
