"""A program whose processes are killed at every step of a work on keys, each in its own copy.

Run it as ``python -m clf_testing._dying_keys ACTION DIRECTORY COPIES``. Copy n is worked on by a
process that dies by SIGKILL at its n-th change of the database or of a file; the last one survives.
It prints how many did not.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from clf_server._drop import drop_table
from clf_server._objects import ObjectStore
from clf_server._rotate_identity import rotate_identity
from clf_server._rotate_key import rotate_key
from clf_server._state import load_state

_CHANGES = ("INSERT", "UPDATE", "DELETE")


def _rotate_key(directory: Path) -> Callable[[], object]:
    return lambda: rotate_key(directory)


def _drop(directory: Path) -> Callable[[], object]:
    state = load_state(directory)
    return lambda: drop_table(state, "plans")


def _rotate_identity(directory: Path) -> Callable[[], object]:
    return lambda: rotate_identity(directory, overlap_days=30)


def _end_identity(directory: Path) -> Callable[[], object]:
    return lambda: rotate_identity(directory, overlap_days=0)


_ACTIONS = {
    "rotate-key": _rotate_key,
    "rotate-identity": _rotate_identity,
    "end-identity": _end_identity,
    "drop": _drop,
}


def _die_at(step: int) -> None:
    left = step

    def count(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def count_change(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith(_CHANGES):
            count()

    sa.event.listen(sa.Engine, "before_cursor_execute", count_change)
    sa.event.listen(sa.Engine, "commit", count)  # before it; after it is before the next change

    def counted(of: type, name: str) -> None:
        original = getattr(of, name)

        def step(*args: Any, **options: Any) -> Any:
            count()
            done = original(*args, **options)
            count()
            return done

        setattr(of, name, step)

    counted(Path, "unlink")
    counted(Path, "hardlink_to")
    counted(ObjectStore, "delete")


def main(action: str, directory: Path, copies: Path) -> None:
    """Kill processes until one survives, and print how many did not."""
    for number in itertools.count(1):
        copy = copies / str(number)
        shutil.copytree(directory, copy)
        child = os.fork()
        if child == 0:
            act = _ACTIONS[action](copy)
            _die_at(number)
            act()
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status == 0:
            sys.stdout.write(f"{number - 1}\n")
            return
        if status != -signal.SIGKILL:
            raise RuntimeError(f"a process ended with {status}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
