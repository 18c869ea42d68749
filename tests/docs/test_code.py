"""Code of pages that are not run as a whole: parameters, commands, and jobs with made-up tables."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import clf_sdk as clf
from clf_sdk._cli import main
from clf_sdk.operations import Parameters

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("README*.md"), *sorted((ROOT / "docs").rglob("*.md")), ROOT / "ccp/README.md"]
RUN = {"README.md", "docs/disclosure.md", "docs/job-lifecycle.md"} | {
    f"docs/howto/{name}.md" for name in ("approve", "run", "share", "verify")
}
"""Pages whose Python other tests of this folder run."""
OPERATIONS = (ROOT / "docs" / "operations.md").read_text("utf-8")


def test_pages_with_python_are_run() -> None:
    found = {
        str(page.relative_to(ROOT)) for page in PAGES if "```python" in page.read_text("utf-8")
    }
    assert found == RUN | {"README.zh-CN.md"}


def test_translation_has_the_readme_s_code() -> None:
    def code(name: str) -> list[str]:
        text = (ROOT / name).read_text("utf-8")
        blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        plain = re.sub(r'"…[^"]*"', '"…"', "".join(blocks))
        lines = (line.partition("  #")[0].rstrip() for line in plain.split("\n"))
        return [line for line in lines if line and not line.startswith("#")]

    assert code("README.zh-CN.md") == code("README.md")


def test_parameters_in_the_guide_are_those_of_operations() -> None:
    found = re.findall(r"`(clf\.[A-Z]\w+\(.*?\))`", OPERATIONS)
    made = [eval(code, {"clf": clf}) for code in found]  # noqa: S307 - it is our own page
    assert len([each for each in made if isinstance(each, Parameters)]) >= 8


def _commands(page: Path) -> Iterator[list[str]]:
    """Yield the words of each line of code that calls clf."""
    text = page.read_text("utf-8").replace("\\\n", " ")
    for line in text.split("\n"):
        found = re.match(r"(?:    |\$ )+(?:\w+=\S+ )*(clf [a-z].*)", line)
        if found is not None:
            lexer = shlex.shlex(found[1], posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            lexer.commenters = "#"
            yield list(lexer)


def _mistake(words: list[str]) -> str | None:
    """Say what is wrong with a command: there is none of this name, or it has no such option."""
    command: click.Command = main
    rest = words[1:]
    while isinstance(command, click.Group):
        if not rest or rest[0].startswith("-"):
            return None
        known = command.get_command(click.Context(command), rest[0])
        if known is None:
            return f"there is no command {rest[0]}"
        command, rest = known, rest[1:]
    options = {name for each in command.params for name in [*each.opts, *each.secondary_opts]}
    for word in rest:
        if word in ("&", ">", ">>", "|", "&&", ";", "--"):
            return None
        if word.startswith("-") and word.partition("=")[0] not in options | {"--help"}:
            return f"there is no option {word}"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_pages_exist(page: Path) -> None:
    mistakes = [(words, _mistake(words)) for words in _commands(page)]
    assert [each for each in mistakes if each[1] is not None] == []


def test_wrong_commands_are_noticed() -> None:
    assert sum(len(list(_commands(page))) for page in PAGES) > 60
    assert _mistake(["clf", "server", "explode"]) == "there is no command explode"
    assert _mistake(["clf", "share", "--loudly", "x"]) == "there is no option --loudly"
    assert _mistake(["clf", "server", "run", "dir", "&"]) is None
