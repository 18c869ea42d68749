"""The threat model names tests: they exist, and every attack has one or says that it succeeds."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "threat-model.md").read_text()


@cache
def known_tests() -> frozenset[str]:
    """Names of all test functions."""
    return frozenset(
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


def rows(page: str) -> list[list[str]]:
    """Cells of the rows of all tables of attacks, without their heads."""
    found = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.splitlines()
        if line.startswith("|") and not line.startswith("|---")
    ]
    return [cells for cells in found if not cells[0].endswith(" tries")]


def test_every_test_that_is_named_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 80
    assert sorted(named - known_tests()) == []
    paths = set(re.findall(r"`(tests/[\w/.]+)`", PAGE))
    assert sorted(path for path in paths if not (ROOT / path).exists()) == []


def test_every_attack_has_a_test_or_is_admitted() -> None:
    attacks = rows(PAGE.partition("## Not trusted")[2].partition("## Not protected")[0])
    assert len(attacks) > 60
    assert [cells for cells in attacks if len(cells) != 3] == []
    for tried, stopped_by, shown_by in attacks:
        if not shown_by:
            assert stopped_by.startswith("nothing"), tried
        else:
            assert re.search(r"`tests?[_/]", shown_by), tried


@pytest.mark.parametrize(
    "attacker",
    [
        "The host of the enclave",
        "The network",
        "The analyst",
        "Somebody with neither token nor enclave",
        "Another owner",
        "Whoever hands over a receipt",
        "A reader of a server's disk or backup",
        "A writer to a server's disk",
    ],
)
def test_every_attacker_has_a_section(attacker: str) -> None:
    assert f"### {attacker}\n" in PAGE


@pytest.mark.parametrize(
    "admitted",
    ["Side channels", "physical attacks", "Wrong but approved analyses", "Availability"],
)
def test_what_is_not_protected_is_said(admitted: str) -> None:
    assert admitted in PAGE.partition("## Not protected")[2]
