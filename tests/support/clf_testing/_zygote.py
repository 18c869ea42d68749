"""Servers that start at once: a process that has loaded everything and forks them.

Run it as ``python -m clf_testing._zygote DIRECTORY LOG``. A line on its input starts the server,
and is answered by the id of its process; the next line waits for it, and is answered by its exit
code.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from clf_server._serve import run_server


def _serve(directory: Path, log: Path) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(descriptor, 2)
        run_server(directory)
        code = 0
    finally:
        os._exit(code)


def main(directory: Path, log: Path) -> None:
    """Answer until the input ends."""
    child = 0
    for _ in sys.stdin:
        if child:
            answer, child = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0
        else:
            answer = child = _serve(directory, log)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
