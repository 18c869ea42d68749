"""How errors show themselves in a notebook."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from clf_sdk.errors import BY_CODE, ClfError, PolicyRefused, RunFailed

HOSTILE = "\x1b[2J\u202eevil"


@pytest.fixture(scope="module")
def shell() -> Iterator[InteractiveShell]:
    made: Any = InteractiveShell()
    made.history_manager.enabled = False
    yield made
    made.history_manager.end_session()


def _shown(shell: InteractiveShell, code: str) -> str:
    with capture_output() as captured:
        shell.run_cell(code)
    return str(captured.stdout)


CODE = """
from clf_sdk.errors import PolicyRefused
def deep():
    raise PolicyRefused("the clinic refuses", rule="columns", hint="ask for less", request_id="r1")
deep()
"""


def test_notebook_shows_one_red_line_why_what_to_do_and_the_request(
    shell: InteractiveShell,
) -> None:
    lines = _shown(shell, CODE).splitlines()
    assert lines[0] == "\x1b[31;1mPolicyRefused: the clinic refuses\x1b[0m"
    text = "\n".join(lines)
    assert "Why:" in text
    assert "'columns'" in text
    assert "What to do:\x1b[0m ask for less" in text
    assert "Request:\x1b[0m r1" in text
    assert "Traceback" not in text
    assert "deep()" not in text


def test_traceback_comes_on_demand(shell: InteractiveShell) -> None:
    _shown(shell, CODE)
    again = _shown(shell, "%tb")
    assert "Traceback" in again
    assert "in deep" in again


def test_text_of_a_server_steers_no_terminal() -> None:
    error = RunFailed(HOSTILE, hint=HOSTILE, request_id=HOSTILE)
    for _ in range(2):
        text = "\n".join(error._render_traceback_())
        assert "\x1b[2J" not in text
        assert "\u202e" not in text


@pytest.mark.parametrize("kind", list(BY_CODE.values()), ids=lambda kind: kind.code)
def test_errors_survive_a_process_boundary(kind: type[ClfError]) -> None:
    error = kind("it went wrong", hint="do this", request_id="r1")
    found = pickle.loads(pickle.dumps(error))  # noqa: S301 - made here
    assert type(found) is kind
    assert (str(found), found.hint, found.request_id) == (str(error), "do this", "r1")


def test_refusing_rule_survives_a_process_boundary() -> None:
    error = PolicyRefused("no", rule="columns")
    assert pickle.loads(pickle.dumps(error)).rule == "columns"  # noqa: S301 - made here
