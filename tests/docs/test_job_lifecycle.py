"""docs/job-lifecycle.md is run as it stands: real servers, a real enclave process, real files."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from clf_sdk._server_process import free_port
from clf_testing._console_page import matches, read_steps, run_page

PAGE = Path(__file__).parents[2] / "docs" / "job-lifecycle.md"
_PORT = re.compile(r"\b44(?:33|34|80|81)\b")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {
        name: os.environ[name] for name in ("LANG", "LC_ALL", "PYTHONPATH") if name in os.environ
    }
    scripts = Path(sys.executable).parent
    return kept | {
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
        "PYTHONWARNINGS": "ignore",
        "PYTHONUTF8": "1",
        "TMPDIR": str(tmp_path),
    }


@pytest.mark.whole
@pytest.mark.timeout(600)
def test_page_is_what_happens(tmp_path: Path, environment: dict[str, str]) -> None:
    ports: dict[str, str] = {}

    def elsewhere(found: re.Match[str]) -> str:
        return ports.setdefault(found[0], str(free_port()))

    page = _PORT.sub(elsewhere, PAGE.read_text())
    assert len(ports) == 4
    people = tmp_path / "people"
    people.mkdir()
    assert run_page(page, people, environment) == len(list(read_steps(page)))


def test_every_side_of_a_job_stands_on_the_page() -> None:
    steps = list(read_steps(PAGE.read_text()))
    assert {step.who for step in steps} == {"clinic", "insurer", "ada", "auditor"}
    commands = " ".join(step.source for step in steps if step.kind == "console")
    for command in (
        "clf server init",
        "clf server run",
        "clf server pause",
        "clf server resume",
        "clf server analyst add",
        "clf server token create",
        "clf identity create",
        "clf identity export",
        "clf share",
        "clf job list",
        "clf job show",
        "clf job approve",
        "clf job revoke",
        "clf release list",
        "clf release show",
        "clf release approve",
        "clf receipt fetch",
        "clf receipt verify",
        "clf receipt compare",
        "clf audit export",
        "clf audit verify",
    ):
        assert command in commands


@pytest.mark.parametrize(
    ("expected", "printed", "holds"),
    [
        ("", "", True),
        ("", "something\n", False),
        ("one\n", "one\n", True),
        ("one\n", "two\n", False),
        ("one\n", "", False),
        ("one\n", "one\ntwo\n", False),
        ("a … c\n", "a b b c\n", True),
        ("a … c\n", "a b\nc\n", False),
        ("…\nlast\n", "first\nsecond\nlast\n", True),
        ("…\nlast\n", "first\nsecond\n", False),
        ("…\n", "", True),
        ("a.c\n", "abc\n", False),
    ],
)
def test_lies_are_noticed(expected: str, printed: str, *, holds: bool) -> None:
    assert matches(expected, printed) is holds


@pytest.mark.parametrize(
    "lie",
    [
        '```console title="ann"\n$ echo one\ntwo\n```\n',
        '```console title="ann"\n$ echo one\n```\n',
        '```console title="ann"\n$ false\nit worked\n```\n',
        '```python title="ann"\nprint(1)\n```\n\n```text\n2\n```\n',
        '```python title="ann"\n1 / 0\n```\n',
    ],
)
def test_page_that_lies_fails(tmp_path: Path, environment: dict[str, str], lie: str) -> None:
    truth = (
        '```console title="ann"\n$ X=1\n$ echo $X\n1\n```\n\n```python title="ann"\nx = 2\n```\n\n'
    )
    truth += '```python title="ann"\nprint(x)\n```\n\nand so it is:\n\n```text\n2\n```\n\n'
    assert run_page(truth, tmp_path, environment) == 4
    with pytest.raises(AssertionError, match="the page says"):
        run_page(truth + lie, tmp_path, environment)
