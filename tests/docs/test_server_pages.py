"""Code of the pages for operators is run: one server, from `init` to the end of its log."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import clf_sdk as clf
from clf_sdk._cli import main
from clf_sdk._server_process import ServerProcess, free_port
from clf_sdk.attestation import TrustAnchor
from clf_server._evidence import program_measurement
from clf_testing import Simulation, the_analyst

DOCS = Path(__file__).parents[2] / "docs"
NOT_RUN = {
    "useradd ": "makes a user of the machine",
    "install -d -o clf ": "gives a folder to that user",
    "cp server/clf-server@.service ": "needs systemd; test_operating.py reads the unit",
}
"""How lines begin that can't be run, and why."""


def blocks(page: str) -> Iterator[list[str]]:
    """Yield the lines of each indented block, with those that go on further to the right."""
    text = (DOCS / page).read_text("utf-8")
    assert "```" not in text
    for found in re.finditer(r"(?:^ {4}.*\n)+", text, re.MULTILINE):
        block = re.sub(r"\s*\\\n\s+|\n {5,}", " ", found[0])
        yield [line.strip() for line in block.splitlines()]


def lines(page: str) -> list[str]:
    return [line for block in blocks(page) for line in block]


def about_replicas(line: str) -> bool:
    return "database_url=postgresql" in line


def reason_not_to_run(line: str) -> str | None:
    return next((NOT_RUN[start] for start in NOT_RUN if line.startswith(start)), None)


class Page:
    """Runs lines of a page with names of its own for the page's placeholders.

    Parameters
    ----------
    names
        What stands for which word, or beginning of a word.
    options
        What is added to commands that begin so, for a machine that others use too.
    """

    def __init__(self, names: Mapping[str, str], options: Mapping[str, list[str]]) -> None:
        self._names = dict(names)
        self._options = options
        self.output = ""

    def _word(self, word: str) -> str:
        for name, value in self._names.items():
            if word == name or word.startswith(f"{name}/"):
                return value + word[len(name) :]
        return word.partition("|")[0]

    def run(self, line: str, **names: str) -> None:
        """Run a command without its optional parts, and with the first of alternatives."""
        self._names |= names
        while (shorter := re.sub(r" ?\[[^][]*\](\.\.\.)?", "", line)) != line:
            line = shorter
        words = shlex.split(line.removeprefix("sudo -u clf "))
        assert words[0] == "clf", line
        more = next((self._options[each] for each in self._options if line.startswith(each)), [])
        arguments = [self._word(word) for word in words[1:]] + more
        done = CliRunner().invoke(main, arguments, catch_exceptions=False)
        assert done.exit_code == 0, (line, arguments, done.output)
        self.output = done.output


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder in which the pages' relative paths lie."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def files(folder: Path, numbers: pa.Table, policy: clf.Policy) -> Path:
    """Write what the pages' commands read."""
    pq.write_table(numbers, folder / "visits.parquet")
    (folder / "policy.json").write_text(json.dumps(policy.to_json()))
    (folder / "expect.json").write_text(json.dumps({"mrenclave": program_measurement()}))
    the_analyst().public.save(folder / "ada.identity.json")
    return folder


@pytest.fixture
def server(folder: Path, simulation: Simulation) -> Iterator[ServerProcess]:
    """Name a server whose directory the page's first command makes."""
    directory = folder / "clinic"
    directory.mkdir()
    made = ServerProcess(directory, name="clinic", insecure_simulation=simulation.anchor)
    directory.rmdir()
    yield made
    made.stop()


def test_every_line_is_run_or_says_why_not() -> None:
    unrun = [
        line
        for page in ("server.md", "operating.md")
        for line in lines(page)
        if not line.removeprefix("sudo -u clf ").startswith("clf ")
        and reason_not_to_run(line) is None
    ]
    assert [line.partition("(")[0] for line in unrun] == ["clinic = clf.connect"]  # run below


@pytest.mark.whole
def test_page_of_commands_runs_from_the_first_to_the_last(
    files: Path, server: ServerProcess, simulation: Simulation
) -> None:
    anchor = str(simulation.anchor)
    here = {
        "DIR": str(server.directory),
        "FOLDER": str(server.directory / "tls"),
        "FILE": str(files / "clinic.backup"),
        "PUBLIC_IDENTITY_FILE": "ada.identity.json",
        "LOG.jsonl": "log.jsonl",
        "ENTRY.json": "entry.json",
        "INDEX": "0",
        "NAME": "clinic",
    }
    init = ["--port", str(free_port()), "--blob-port", str(free_port())]
    init += ["--insecure-simulation", anchor]
    init += ["--set", f"insecure_simulated_evidence={simulation.directory}"]
    page = Page(
        here,
        {
            "clf server init": init,
            "clf server token create": ["--label", "second"],
            "clf share": ["--insecure-simulation", anchor],
        },
    )
    done = []
    for line in lines("server.md"):
        done.append(line)
        if about_replicas(line):
            continue  # in the next test
        if line.startswith("clf server run"):
            server.start()
            server.owner.save(files / "owner.profile.json")
        elif line.startswith("clf server restore"):
            page.run(line, DIR=str(files / "restored"))
            page.run("clf server migrate DIR", DIR=str(server.directory))
        elif line.startswith("clf server analyst add"):
            page.run(line, NAME="ada")
        elif line.startswith("clf server token revoke"):
            page.run("clf server token list DIR")
            (listed,) = [each for each in page.output.splitlines() if " second " in each]
            page.run(line, ID=listed.split()[0])
        elif line.startswith("clinic = "):
            _connect(line, anchor=simulation.anchor)
        else:
            page.run(line)
    assert len(done) > 20


def _connect(line: str, *, anchor: Path) -> None:
    """Run the page's line of Python, at a server whose proof is a simulated one."""
    code = line.replace("…", program_measurement()).replace('json", ', 'json", anchor=anchor, ')
    names = {"clf": clf, "anchor": TrustAnchor.insecure_simulation(anchor)}
    exec(code, names)  # noqa: S102 - it is our own page
    clinic = names["clinic"]
    assert isinstance(clinic, clf.Connection)
    assert clinic.attested is not None
    clinic.close()


@pytest.mark.whole
def test_guide_of_operations_runs_from_the_first_line_to_the_last(folder: Path) -> None:
    page = Page({"/srv/clf": str(folder / "srv"), "DIR": str(folder / "moved")}, {})
    (folder / "srv").mkdir()
    for line in lines("operating.md"):
        if reason_not_to_run(line) is None and not about_replicas(line):
            page.run(line)
    for name in ("srv/clinic", "srv/again", "moved"):
        assert (folder / name / "clf_server.conf").exists()


@pytest.mark.whole
def test_lines_about_replicas_run_on_a_real_database_and_store(
    folder: Path, make_shared: Callable[[], dict[str, str]]
) -> None:
    found = [line for page in ("server.md", "operating.md") for line in lines(page)]
    for number, line in enumerate(filter(about_replicas, found)):
        page = Page({"DIR": str(folder / f"replica-{number}")}, {})
        for key, value in make_shared().items():
            line = re.sub(rf"\"?{key}=[^ \"]+\"?", f'"{key}={value}"', line)  # noqa: PLW2901
        if "restore" in line:
            Page({}, {}).run(f"clf server init {folder / 'old'} --name clinic")
            Page({}, {}).run(f"clf server backup {folder / 'old'} clinic.backup")
        page.run(line)
        assert (folder / f"replica-{number}" / "clf_server.conf").exists()
    assert number == 1
