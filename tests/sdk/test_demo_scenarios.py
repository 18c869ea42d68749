"""Each scenario of the demonstration finds what one party would who sees everything."""

from __future__ import annotations

import pyarrow as pa
import pytest
from click.testing import CliRunner

from clf_sdk._cli._demo import demo
from clf_sdk._demo import SCENARIOS
from clf_sdk.align import join
from clf_testing import demand, operate

# Greene, Econometric Analysis (1993), chapter 14.
PUBLISHED = {
    "credit": {"const": -237.147, "age": -3.0818, "income": 234.347, "owns_home": 27.941},
}


@pytest.mark.parametrize("name", ["cancer", "credit", "survival"])
def test_scenario_finds_what_one_party_finds(name: str) -> None:
    scenario = SCENARIOS[name]()
    tables = {
        owner: pa.Table.from_pandas(frame, preserve_index=False)
        for owner, (_, frame) in scenario.tables.items()
    }
    align = scenario.align or join(*tables, on=str(scenario.on))
    rules = [demand(smallest_group=scenario.smallest_group)]
    outputs = operate(scenario.operation, tables, align=align, rules=rules)
    joint, reference = scenario.joint(outputs), scenario.reference()
    assert joint == pytest.approx(reference, rel=1e-8)
    for term, value in PUBLISHED.get(name, {}).items():
        assert joint[term] == pytest.approx(value, rel=2e-3)
    page = scenario.page(outputs, reference)
    assert all(any(term in line for line in page) for term in joint)
    assert scenario.reviewer in scenario.tables


def test_scenarios_of_the_command_are_those_that_there_are() -> None:
    (option,) = (each for each in demo.params if each.name == "scenario")
    assert tuple(option.type.choices) == tuple(SCENARIOS)  # type: ignore[attr-defined]
    refused = CliRunner().invoke(demo, ["--scenario", "weather"])
    assert refused.exit_code == 2
    assert "survival" in refused.output
