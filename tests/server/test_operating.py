"""The operator's guide and the unit file say what the software does."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import click
import prometheus_client as prometheus
from click.testing import CliRunner

from clf_sdk.errors import BY_CODE
from clf_server._cli import server
from clf_server._metrics import Metrics

REPOSITORY = Path(__file__).parents[2]


def read(name: str) -> str:
    return (REPOSITORY / name).read_text("utf-8")


def test_every_error_code_says_what_to_do() -> None:
    rows = re.findall(
        r"^\| `([a-z_]+)` \| (.+?) \| (.+?) \|$", read("docs/errors.md"), re.MULTILINE
    )
    codes = [code for code, _, _ in rows]
    assert sorted(codes) == sorted(BY_CODE), set(codes) ^ set(BY_CODE)
    assert all(len(happened) > 10 and len(remedy) > 10 for _, happened, remedy in rows)


def test_guide_names_every_metric() -> None:
    guide = read("docs/operating.md")
    metrics = Metrics(software="x", mode="dcap")
    for line in prometheus.generate_latest(metrics.registry).decode().splitlines():
        if line.startswith("# TYPE clf_") and not line.split()[2].endswith("_created"):
            assert f"`{line.split()[2]}" in guide, line


def test_commands_that_the_guides_name_exist() -> None:
    for name in ("docs/operating.md", "docs/server.md", "docs/errors.md"):
        for found in re.findall(r"\bclf server ([a-z-]+)", read(name)):
            assert found in server.commands, (name, found)


def test_unit_runs_a_command_that_exists_and_waits_for_it_to_stop() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # keys keep their case
    unit.read_string(read("server/clf-server@.service"))
    program, group, *arguments = unit["Service"]["ExecStart"].split()
    assert (program.rpartition("/")[2], group) == ("clf", "server")
    assert isinstance(server.commands[arguments[0]], click.Command)
    parsed = CliRunner().invoke(server, [arguments[0], "--help"])
    assert parsed.exit_code == 0
    assert int(unit["Service"]["TimeoutStopSec"]) > 20
    assert unit["Service"]["UMask"] == "0077"
