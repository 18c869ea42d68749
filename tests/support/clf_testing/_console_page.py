"""Run the commands and the Python of a page, person by person, and compare what they print.

A fenced block is ``console`` (commands after ``$``, then what they print) or ``python``, and its
title is who does it; a ``text`` block is what the Python before it prints. ``…`` stands for any
text, and alone in its line for any lines.
"""

from __future__ import annotations

import re
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r'^```(\w+)(?: title="(\w+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)

# Reads blocks that end with a line of a marker, runs them, and prints the marker.
_KERNEL = """
import sys, traceback
marker, space = sys.argv[1], {"__name__": "__main__"}
block = []
for line in sys.stdin:
    if line.rstrip("\\n") != marker:
        block.append(line)
        continue
    try:
        exec(compile("".join(block), "<page>", "exec"), space)
    except BaseException:
        traceback.print_exc(file=sys.stdout)
    block = []
    print(marker, flush=True)
"""


@dataclass(frozen=True)
class Step:
    """One thing that somebody does, and what the page says that it prints."""

    line: int
    who: str
    kind: str
    source: str
    expected: str


def read_steps(page: str) -> Iterator[Step]:
    """Return the steps of a page, in order."""
    waiting: Step | None = None
    for found in _FENCE.finditer(page):
        kind, who, text = found[1], found[2], found[3]
        line = page.count("\n", 0, found.start()) + 2
        if waiting is not None:
            yield Step(waiting.line, waiting.who, "python", waiting.source, text * (kind == "text"))
            waiting = None
        if kind == "python":
            waiting = Step(line, who, kind, text, "")
        elif kind == "console":
            yield from _commands(line, who, text)
    if waiting is not None:
        yield waiting


def _commands(line: int, who: str, text: str) -> Iterator[Step]:
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        yield Step(line, who, "console", f"{command}\n", expected)


def matches(expected: str, printed: str) -> bool:
    """Tell whether what was printed is what a page says."""
    pattern = ""
    for line in expected.splitlines():
        if line == "…":
            pattern += r"(?:[^\n]*\n)*"
        else:
            pattern += r"[^\n]*".join(re.escape(part) for part in line.split("…")) + "\n"
    said = "".join(f"{line.rstrip()}\n" for line in printed.splitlines())
    return re.fullmatch(pattern, said) is not None


class Person:
    """Somebody with a folder, a shell and an interpreter, which live as long as the page."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._environment = {
            **environment,
            "HOME": str(folder),
            "XDG_DATA_HOME": str(folder / ".data"),
            "XDG_STATE_HOME": str(folder / ".state"),
        }
        self._marker = secrets.token_hex(16)
        self._running: dict[str, subprocess.Popen[str]] = {}

    def _process(self, kind: str) -> subprocess.Popen[str]:
        if kind not in self._running:
            shell = ["bash", "--noprofile", "--norc"]
            kernel = [sys.executable, "-u", "-c", _KERNEL, self._marker]
            self._running[kind] = subprocess.Popen(
                shell if kind == "console" else kernel,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None if kind == "console" else subprocess.DEVNULL,
                text=True,
                cwd=self._folder,
                env=self._environment,
                start_new_session=True,
            )
        return self._running[kind]

    def do(self, step: Step) -> str:
        """Run a step, and return what it printed."""
        process = self._process(step.kind)
        assert process.stdin is not None
        assert process.stdout is not None
        end = f"echo {self._marker}\n" if step.kind == "console" else f"{self._marker}\n"
        process.stdin.write(step.source + end)
        process.stdin.flush()
        printed = ""
        for line in process.stdout:
            if line.rstrip("\n").endswith(self._marker):
                return printed + line.rstrip("\n").removesuffix(self._marker)
            printed += line
        raise AssertionError(f"the {step.kind} of {step.who} ended: {printed}")

    def leave(self) -> None:
        """End everything that this person has started."""
        for kind, process in self._running.items():
            assert process.stdin is not None
            assert process.stdout is not None
            if kind == "console":
                process.stdin.write("kill $(jobs -p) 2> /dev/null; wait\n")
            process.stdin.close()
            process.wait(30)
            process.stdout.close()


def run_page(page: str, folder: Path, environment: Mapping[str, str]) -> int:
    """Run a page; return how many steps it has.

    Raises
    ------
    AssertionError
        Something printed other than the page says; the message has both.
    """
    people: dict[str, Person] = {}
    count = 0
    try:
        for name in dict.fromkeys(step.who for step in read_steps(page)):
            people[name] = Person(folder / name, environment)
        for step in read_steps(page):
            printed = people[step.who].do(step)
            count += 1
            if not matches(step.expected, printed):
                raise AssertionError(
                    f"line {step.line}, {step.who}:\n{step.source}\n"
                    f"the page says:\n{step.expected}\nprinted was:\n{printed}"
                )
    finally:
        for person in people.values():
            person.leave()
    return count
