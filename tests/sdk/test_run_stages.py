from __future__ import annotations

from typing import Any

import pytest

from clf_sdk._run_stages import read_stages, steps_of
from clf_testing import job_input, make_job

CLINIC, INSURER = "aa" * 32, "bb" * 32
JOB = make_job([job_input(CLINIC, "health"), job_input(INSURER, "plans")])


def _session(server: str) -> dict[str, Any]:
    return {"event": "session", "server": server, "session": "0", "seconds": 0.1}


def _pull(kind: str, name: str, server: str, done: int, **more: Any) -> dict[str, Any]:
    return {"event": kind, "input": name, "server": server, "sealed_bytes": done} | more


STORY: list[dict[str, Any]] = [
    {"event": "process", "pid": 7, "mode": "simulation"},
    {"event": "started", "run": "0" * 32, "job": JOB.digest},
    {"event": "waiting", "server": CLINIC},
    _session(CLINIC),
    _session(INSURER),
    _pull("pulling", "health", CLINIC, 25_000_000, total_bytes=100_000_000, seconds=0.5),
    _pull("pulled", "health", CLINIC, 100_000_000, seconds=2.0),
    _pull("pulled", "plans", INSURER, 10, seconds=0.1),
    {"event": "aligned", "seconds": 0.1},
    {"event": "computed", "operation": "glm", "seconds": 0.2},
    _session(CLINIC),
    _session(INSURER),
    {"event": "delivered", "outputs": ["fit"], "seconds": 0.3},
]


def test_nothing_is_known_before_the_first_event() -> None:
    stages = read_stages(JOB, [])
    assert (stages.state, stages.steps, stages.mode) == ("running", 0, None)
    assert stages.owner_in_words(CLINIC) == ["not asked yet"]
    assert stages.stages_in_words() == ["nothing yet"]


def test_every_step_is_counted_once_and_the_last_one_completes() -> None:
    steps = [read_stages(JOB, STORY[:count]).steps for count in range(len(STORY) + 1)]
    assert steps == sorted(steps)
    assert steps[-1] == steps_of(JOB)
    assert read_stages(JOB, STORY).state == "delivered"


def test_owner_that_seals_rows_is_named_until_it_grants() -> None:
    assert read_stages(JOB, STORY[:3]).owner_in_words(CLINIC) == ["sealing the rows that may leave"]
    assert read_stages(JOB, STORY[:4]).owner_in_words(CLINIC)[0] == "attested, keys granted"


def test_bytes_rates_and_time_left_are_shown_while_a_table_is_pulled() -> None:
    stages = read_stages(JOB, STORY[:6])
    health, plans = stages.inputs
    assert (health.bytes_per_second, health.seconds_left) == (50_000_000, 1.5)
    assert "pulling 25.0 MB of 100.0 MB (50.0 MB/s, 2 s left)" in str(health)
    assert (plans.seconds_left, str(plans)) == (None, "plans: waits")
    assert "pulled 100.0 MB (50.0 MB/s)" in str(read_stages(JOB, STORY[:7]).inputs[0])


def test_confirmation_before_sealing_is_shown() -> None:
    assert "confirmed before sealing" not in read_stages(JOB, STORY[:10]).owner_in_words(CLINIC)
    assert "confirmed before sealing" in read_stages(JOB, STORY).owner_in_words(CLINIC)


def test_failure_is_told_in_the_words_of_the_enclave() -> None:
    failed = {"event": "failed", "code": "x", "message": "too few people", "hint": None}
    stages = read_stages(JOB, [*STORY[:8], failed])
    assert stages.state == "failed"
    assert stages.stages_in_words() == ["FAILED: too few people"]


def test_events_that_are_not_known_yet_are_passed_over() -> None:
    strange: list[dict[str, Any]] = [
        {"event": "prepared", "seconds": 1.0},
        _pull("pulled", "another", CLINIC, 5, seconds=1.0),
    ]
    assert read_stages(JOB, [*strange, *STORY]) == read_stages(JOB, STORY)


@pytest.mark.parametrize("seconds", [0.0, 1e-9])
def test_no_time_is_no_rate(seconds: float) -> None:
    event = _pull("pulling", "health", CLINIC, 0, total_bytes=5, seconds=seconds)
    (health, _) = read_stages(JOB, [event]).inputs
    assert health.seconds_left is None
