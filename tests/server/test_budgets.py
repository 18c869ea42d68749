"""Privacy budgets are spent with the grant and never given back: docs/protocol.md §8.5."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_sdk.operations import NOISED, OPERATIONS, parameters_class
from clf_sdk.operations._parameters import Parameters
from clf_sdk.protocol import JobDocument, JobInput
from clf_server._administration import Administration
from clf_server._backup import make_backup, restore_backup
from clf_testing import HandmadeEnclave, LocalServer, Simulation, job_input, make_job

Refused = Callable[[Any], tuple[int, str]]
WORDS = "the table's privacy budget does not suffice"


def noised(inputs: list[JobInput], *epsilons: float, **more: Any) -> JobDocument:
    statistics = [
        clf.private.count(f"count{number}", epsilon=epsilon)
        for number, epsilon in enumerate(epsilons)
    ]
    parameters = clf.PrivateStatistics(statistics=statistics).to_json()
    return make_job(
        inputs, operation="private_statistics", parameters=parameters | more.pop("asks", {}), **more
    )


@pytest.fixture
def with_budget(simulation: Simulation) -> Callable[..., clf.Policy]:
    def make(budget: float | None, **rules: Any) -> clf.Policy:
        rules = {"operations": ["private_statistics", "glm"]} | rules
        return simulation.policy_with(privacy_budget=budget, **rules)

    return make


@pytest.fixture
def server(
    local: LocalServer, numbers: pa.Table, with_budget: Callable[..., clf.Policy]
) -> LocalServer:
    local.upload("t", numbers, with_budget(1.0))
    return local


@pytest.fixture
def begin(simulation: Simulation, server: LocalServer) -> Callable[..., HandmadeEnclave]:
    """Return an enclave with a run that costs so much of table t."""

    def make(*epsilons: float, **fields: Any) -> HandmadeEnclave:
        job = fields.pop("job", None) or noised([job_input(server.server_id, "t")], *epsilons)
        return HandmadeEnclave(simulation, fields.pop("server", server), job, **fields)

    return make


def spent(server: LocalServer, table: str = "t") -> tuple[int, int] | None:
    answer = server.control.get("/v1/tables", headers=server.bearer())
    (found,) = [entry for entry in answer.json()["tables"] if entry["name"] == table]
    budget = found["privacy"]
    return budget and (budget["spent_millionths"], budget["total_millionths"])


def logged(server: LocalServer, event: str) -> list[dict[str, Any]]:
    return [entry.details for entry in server.audited() if entry.event == event]


def test_operations_with_noise_are_those_that_cost_something() -> None:
    costing = {
        name
        for name in OPERATIONS
        if parameters_class(name).epsilon_millionths is not Parameters.epsilon_millionths
    }
    assert costing == NOISED


def test_run_spends_what_its_statistics_cost_once_however_often_it_asks(
    server: LocalServer, begin: Callable[..., HandmadeEnclave]
) -> None:
    enclave = begin(0.3, 0.1)
    answers = [enclave.open() for _ in range(3)]
    assert [each.session.inputs[0].epsilon_millionths for each in answers] == [400_000] * 3
    assert {each.session.rules.differencing for each in answers} == {"off"}
    assert spent(server) == (400_000, 1_000_000)
    begin(0.6).open()
    assert spent(server) == (1_000_000, 1_000_000)
    entries = logged(server, "budget.spent")
    assert [entry["epsilon_millionths"] for entry in entries] == [400_000, 600_000]
    assert [entry["spent_millionths"] for entry in entries] == [400_000, 1_000_000]
    assert {entry["budget_millionths"] for entry in entries} == {1_000_000}


def test_spent_budget_refuses_and_tells_the_numbers_to_the_owner_alone(
    server: LocalServer, begin: Callable[..., HandmadeEnclave], refused: Refused
) -> None:
    begin(0.9).open()
    asking = begin(0.11)
    answer = asking.ask()
    assert refused(answer) == (403, "policy_refused")
    assert answer.json()["rule"] == "privacy_budget"
    assert answer.json()["detail"] == f"table 't': {WORDS}"
    assert "0.1" not in json.dumps(answer.json())
    reason = logged(server, "session.refused")[-1]["reason"]
    assert "spends ε 0.11 each time that it runs, and ε 0.1 of ε 1 is left" in reason
    assert spent(server) == (900_000, 1_000_000)
    status = server.control.get(f"/v1/jobs/{asking.job.digest}", headers=server.bearer()).json()
    assert status["status"]["runs_used"] == 0  # the run that was refused was not counted


def test_policy_approves_no_job_for_which_too_little_is_left(
    server: LocalServer, begin: Callable[..., HandmadeEnclave]
) -> None:
    begin(0.9).open()
    jobs = [begin(0.2).job, begin(0.1).job]
    assert [server.submit(job).json()["state"] for job in jobs] == ["pending", "approved"]


def test_last_of_a_budget_is_taken_by_one_of_many_runs_at_the_same_time(
    server: LocalServer, begin: Callable[..., HandmadeEnclave]
) -> None:
    first = begin(0.3)
    server.agree(first.job)
    enclaves = [begin(job=first.job, agreed=False) for _ in range(20)]
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda each: each.ask(), enclaves))
    codes = Counter(
        "granted" if answer.status_code == 200 else answer.json()["rule"] for answer in answers
    )
    assert codes == {"granted": 3, "privacy_budget": 17}
    assert spent(server) == (900_000, 1_000_000)
    assert len(logged(server, "budget.spent")) == len(logged(server, "session.granted")) == 3


def test_two_sessions_at_the_same_time_of_one_run_pay_once(
    server: LocalServer, begin: Callable[..., HandmadeEnclave]
) -> None:
    enclave = begin(0.8)
    server.agree(enclave.job)
    enclave.agreed = False
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: enclave.ask(), range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert spent(server) == (800_000, 1_000_000)


def test_enclave_that_takes_a_run_over_pays_again(
    server: LocalServer, begin: Callable[..., HandmadeEnclave], refused: Refused
) -> None:
    crashed = begin(0.5)
    crashed.open()
    follower = begin(job=crashed.job, run=crashed.run)
    assert follower.open().session.grant.resumed is True
    assert spent(server) == (1_000_000, 1_000_000)
    third = begin(job=crashed.job, run=crashed.run)
    answer = third.ask()
    assert refused(answer) == (403, "policy_refused")
    assert answer.json()["rule"] == "privacy_budget"
    follower.open()  # it carries the run on: it has paid
    # The first one would have to take it over, too.
    again = begin(job=crashed.job, run=crashed.run, signing=crashed.signing, hpke=crashed.hpke)
    assert again.ask().json()["rule"] == "privacy_budget"


def test_what_is_spent_outlives_restarts_versions_policies_and_the_table(
    server: LocalServer,
    begin: Callable[..., HandmadeEnclave],
    numbers: pa.Table,
    with_budget: Callable[..., clf.Policy],
) -> None:
    begin(0.7).open()
    server.restart()
    assert spent(server) == (700_000, 1_000_000)
    server.upload("t", numbers.slice(1), with_budget(1.0))
    assert spent(server) == (700_000, 1_000_000)
    answer = server.control.delete("/v1/tables/t", headers=server.bearer())
    assert answer.status_code == 204
    server.upload("t", numbers, with_budget(1.0))
    assert spent(server) == (700_000, 1_000_000)
    assert begin(0.4).ask().json()["rule"] == "privacy_budget"
    begin(0.3).open()


def test_raising_a_budget_is_wider_and_lowering_it_below_what_is_spent_leaves_nothing(
    server: LocalServer,
    begin: Callable[..., HandmadeEnclave],
    with_budget: Callable[..., clf.Policy],
    refused: Refused,
) -> None:
    running = begin(0.8)
    running.open()
    assert refused(server.set_policy("t", with_budget(2.0))) == (409, "policy_widened")
    assert server.set_policy("t", with_budget(0.5)).status_code == 200
    assert spent(server) == (800_000, 500_000)
    running.open()  # it has paid
    assert begin(0.000001).ask().json()["rule"] == "privacy_budget"
    assert server.set_policy("t", with_budget(None)).status_code == 200
    assert running.ask().json()["rule"] == "privacy_budget"
    assert spent(server) == (800_000, 0)
    assert refused(server.set_policy("t", with_budget(1.0))) == (409, "policy_widened")
    assert server.set_policy("t", with_budget(1.0), widen=True).status_code == 200
    begin(0.2).open()


def test_table_without_a_budget_gives_nothing_out_with_noise(
    server: LocalServer,
    begin: Callable[..., HandmadeEnclave],
    numbers: pa.Table,
    with_budget: Callable[..., clf.Policy],
) -> None:
    server.upload("u", numbers, with_budget(None))
    answer = begin(job=noised([job_input(server.server_id, "u")], 0.1)).ask()
    assert (answer.status_code, answer.json()["rule"]) == (403, "privacy_budget")
    assert spent(server, "u") is None


def test_every_table_of_the_job_pays_or_none(
    server: LocalServer,
    begin: Callable[..., HandmadeEnclave],
    numbers: pa.Table,
    with_budget: Callable[..., clf.Policy],
) -> None:
    server.upload("u", numbers, with_budget(0.2))
    both = [job_input(server.server_id, "t"), job_input(server.server_id, "u")]
    assert begin(job=noised(both, 0.3)).ask().json()["rule"] == "privacy_budget"
    assert (spent(server), spent(server, "u")) == ((0, 1_000_000), (0, 200_000))
    begin(job=noised(both, 0.2)).open()
    assert (spent(server), spent(server, "u")) == ((200_000, 1_000_000), (200_000, 200_000))


def test_other_operations_spend_nothing(
    server: LocalServer, begin: Callable[..., HandmadeEnclave]
) -> None:
    answer = begin(job=make_job([job_input(server.server_id, "t")])).open()
    assert answer.session.inputs[0].epsilon_millionths == 0
    assert answer.session.rules.differencing == "review"
    assert spent(server) == (0, 1_000_000)
    assert logged(server, "budget.spent") == []


def test_job_that_lies_about_its_cost_is_refused(
    server: LocalServer, begin: Callable[..., HandmadeEnclave]
) -> None:
    entry = job_input(server.server_id, "t")
    count = clf.private.count(epsilon=0.6).to_json()
    lies: list[dict[str, Any]] = [
        {"epsilon": 0.1},
        {"statistics": [count, count]},
        {"statistics": [count, count | {"name": "again"}]},
        {"statistics": [count | {"epsilon": 0}]},
        {"statistics": [count | {"epsilon": -1}]},
        {"statistics": [count | {"epsilon": 1e308}]},
        {"statistics": [count | {"epsilon": 0.1234567}]},
        {"statistics": [count | {"epsilon": "0.1"}]},
        {"statistics": [count | {"epsilon": True}]},
        {"statistics": []},
        {"statistics": {}},
    ]
    for lie in lies:
        answer = begin(job=noised([entry], 0.6, asks=lie)).ask()
        assert answer.status_code in (400, 403), (lie, answer.text)
    assert spent(server) == (0, 1_000_000)


@pytest.mark.parametrize(
    "more",
    [
        {"match_report": True},
        {"memory_limit_bytes": 2**30},
        {"prepare": [clf.prepare.standardise("x")]},
        {"prepare": [clf.prepare.one_hot("x")]},
        {"prepare": [clf.prepare.impute("x", fill_with="mean")]},
    ],
)
def test_job_whose_noise_can_not_be_calibrated_spends_nothing(
    server: LocalServer, begin: Callable[..., HandmadeEnclave], more: dict[str, Any]
) -> None:
    answer = begin(job=noised([job_input(server.server_id, "t")], 0.1, **more)).ask()
    assert answer.json()["rule"] == "privacy_budget"
    assert spent(server) == (0, 1_000_000)


def test_table_that_stands_twice_in_a_job_is_refused(
    server: LocalServer, begin: Callable[..., HandmadeEnclave]
) -> None:
    twice = [job_input(server.server_id, "t", name=name) for name in ("a", "b")]
    job = noised(twice, 0.1, align=clf.align.union("a", "b"))
    assert begin(job=job).ask().json()["rule"] == "privacy_budget"
    assert spent(server) == (0, 1_000_000)


def test_analysts_are_not_told_what_is_left(server: LocalServer) -> None:
    answer = server.control.get("/v1/tables", headers=server.bearer("analyst"))
    assert [entry["privacy"] for entry in answer.json()["tables"]] == [None]


@pytest.mark.embedded("a database that holds a server takes no second one")
def test_restored_server_knows_what_was_spent(
    server: LocalServer, begin: Callable[..., HandmadeEnclave], tmp_path: Path
) -> None:
    begin(0.7).open()
    make_backup(server.directory, tmp_path / "backup")
    server.close()
    restore_backup(tmp_path / "backup", tmp_path / "again")
    for profile in server.directory.glob("*.profile.json"):
        shutil.copy(profile, tmp_path / "again")
    vars(server).update(directory=tmp_path / "again", directories=[tmp_path / "again"])
    server.restart()
    with Administration(server.directory) as administration:
        administration.resume()
    assert spent(server) == (700_000, 1_000_000)
    assert begin(0.4).ask().json()["rule"] == "privacy_budget"
