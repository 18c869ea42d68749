"""Code of pages that are not run as a whole: parameters, commands, and jobs with made-up tables."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_sdk._cli import main
from clf_sdk.operations import Parameters
from clf_testing import operate

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


def _python(page: Path) -> Iterator[ast.Module]:
    """Yield the indented blocks of a page that call clf from Python."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for found in re.finditer(r"(?:^(?: {4}.*)?\n)+", text, re.MULTILINE):
        lines = textwrap.dedent(found[0]).strip("\n").split("\n")
        code = "\n".join(line for line in lines if not line.startswith("clf "))  # of a shell
        if re.search(r"\bclf\.\w+", code):
            yield ast.parse(code)


def _called(node: ast.expr) -> Any:
    """Return what an expression such as ``clf.align.join`` names."""
    if isinstance(node, ast.Attribute):
        outer = _called(node.value)
        return None if outer is None else getattr(outer, node.attr)
    return clf if isinstance(node, ast.Name) and node.id == "clf" else None


def test_calls_in_pages_fit_what_they_call() -> None:
    checked = 0
    for page in PAGES:
        for node in (each for block in _python(page) for each in ast.walk(block)):
            function = _called(node.func) if isinstance(node, ast.Call) else None
            if function is not None and isinstance(node, ast.Call):
                keywords = {each.arg: None for each in node.keywords if each.arg is not None}
                inspect.signature(function).bind(*node.args, **keywords)
                checked += 1
    assert checked > 15


def test_alignment_and_preparation_in_the_guide_can_be_written() -> None:
    parts = [
        ast.unparse(keyword.value)
        for block in _python(ROOT / "docs" / "operations.md")
        for node in ast.walk(block)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg in ("align", "prepare")
    ]
    made = [eval(part, {"clf": clf}) for part in parts]  # noqa: S307 - it is our own page
    assert len(made) >= 2


def test_function_in_the_guide_is_a_job_s_operation(tmp_path: Path) -> None:
    (block,) = (
        each
        for each in _python(ROOT / "docs" / "operations.md")
        if "clf.Python.of" in ast.unparse(each)
    )
    file = tmp_path / "page.py"  # a function's source is found in a file
    file.write_text(ast.unparse(block))
    names: dict[str, Any] = {"clf": clf}
    for statement in ast.parse(file.read_text()).body:
        if isinstance(statement, ast.Expr):
            operation = eval(compile(ast.Expression(statement.value), file, "eval"), names)  # noqa: S307 - the same
        else:
            exec(compile(ast.Module([statement], []), file, "exec"), names)  # noqa: S102 - the same
    found = operate(operation, pa.table({"cost": [float(n) for n in range(101)]}))
    assert found == {"mean": {"value": pytest.approx(50.0)}}
