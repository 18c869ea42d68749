"""Differences of results across runs, at real servers, with the enclave's own code."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

import clf_sdk as clf
from clf_enclave._memory import MemoryOfOwners
from clf_sdk._cli import main
from clf_sdk.align import join
from clf_sdk.errors import (
    ClfError,
    InvalidName,
    PolicyRefused,
    ServerIdentityMismatch,
    TokenRefused,
)
from clf_sdk.protocol import InputNode, JobDocument
from clf_testing import Exchange, Owner, Simulation, execute, job_input, make_job

Connect = Callable[..., clf.Connection]
Ask = Callable[..., JobDocument]
PEOPLE = pa.table(
    {
        "id": pa.array(range(60), pa.int64()),
        "g": ["abc"[number % 3] for number in range(60)],
        "income": [1000.0 + number for number in range(60)],
    }
)


def about(owner: Owner, table: str, where: str = "", by: str = "") -> JobDocument:
    where, group = (f" WHERE {where}" if where else ""), (f" GROUP BY {by}" if by else "")
    columns = f"{by}, " if by else ""
    return make_job(
        [job_input(owner.server, table)],
        operation="aggregate",
        parameters={"sql": f"SELECT {columns}SUM(income) AS s FROM data{where}{group}"},  # noqa: S608 - parsed by the program
        align=InputNode(kind="input", input=table),
    )


@pytest.fixture
def share(connect: Connect, simulation: Simulation) -> Callable[..., None]:
    def make(owner: Owner, name: str, table: pa.Table = PEOPLE, **rules: Any) -> None:
        fields: dict[str, Any] = {
            "operations": ["aggregate"],
            "smallest_group": 5,
            "differencing": "refuse",
        }
        policy = simulation.policy_with(**(fields | rules))
        clf.share(table, name=name, policy=policy, to=connect(owner))

    return make


@pytest.fixture
def run(simulation: Simulation) -> Callable[..., str]:
    def make(job: JobDocument, *owners: Owner, relayed: bool = False) -> str:
        endpoints = [owner.relayed if relayed else owner.endpoint for owner in owners]
        return execute(job, endpoints, simulation.provider(), agreed=owners).run

    return make


@pytest.fixture
def releases(connect: Connect) -> Callable[[Owner, str], list[dict[str, Any]]]:
    """Return what an owner is told of results about a table, the latest first."""

    def ask(owner: Owner, table: str) -> list[dict[str, Any]]:
        told = connect(owner).releases(table).to_dict("records")
        return [{str(name): value for name, value in row.items()} for row in told]

    return ask


def test_sum_without_one_person_is_refused_beside_the_sum_of_all(
    clinic: Owner,
    share: Callable[..., None],
    run: Callable[..., str],
    releases: Callable[[Owner, str], list[dict[str, Any]]],
) -> None:
    share(clinic, "differences")
    first = about(clinic, "differences")
    run(first, clinic)
    for less in ("id <> 7", "income > 1003"):
        with pytest.raises(PolicyRefused) as caught:
            run(about(clinic, "differences", less), clinic)
        assert caught.value.rule == "differencing"
        assert first.digest[:12] in str(caught.value)
    # What is remembered outlives the process, and what was refused is not in it.
    clinic.process.kill()
    clinic.process.start()
    with pytest.raises(PolicyRefused, match=first.digest[:12]):
        run(about(clinic, "differences", "id <> 8"), clinic)
    (kept,) = releases(clinic, "differences")
    assert (kept["job"], kept["people"], kept["operation"]) == (first.digest, [60], "aggregate")
    # The same people again, and people who differ by many, are no difference about few.
    run(first, clinic)
    run(about(clinic, "differences", "id >= 30"), clinic)
    latest, _ = releases(clinic, "differences")
    assert (latest["people"], latest["filters"], latest["group_by"]) == ([30], ["id >= 30"], [])


def test_owner_alone_reads_in_notebook_and_shell_what_results_told(
    clinic: Owner,
    share: Callable[..., None],
    run: Callable[..., str],
    connect: Connect,
    tmp_path: Path,
) -> None:
    share(clinic, "told", differencing="review")
    owner = connect(clinic)
    assert owner.releases("told").empty
    first, second = about(clinic, "told", by="g"), about(clinic, "told", "id <> 7")
    run(first, clinic)
    run(second, clinic)
    told = owner.releases("told")
    assert list(told["job"]) == [second.digest, first.digest]
    assert told["people"].iloc[0] == [59]
    assert str(told["released_at"].dtype).endswith("UTC]")
    assert list(told["close"]) == [[first.digest], []]
    profile = tmp_path / "owner.json"
    clinic.owner.save(profile)

    def shell(*options: str) -> list[str]:
        arguments = ["release", "about", "told", "--profile", str(profile), *options]
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 0, done.output
        return done.output.splitlines()

    line, earlier = shell()
    assert f"{second.digest[:12]}  aggregate  about 59 people of " in line
    assert line.endswith(f"where id <> 7  CLOSE TO {first.digest[:12]}")
    assert earlier.endswith("by g")
    assert [json.loads(each)["job"] for each in shell("--json")] == list(told["job"])
    with pytest.raises(TokenRefused):
        connect(clinic, "analyst").releases("told")
    with pytest.raises(InvalidName):
        owner.releases("../told")
    owner.drop("told")  # what was told stays told
    assert len(owner.releases("told")) == 2


def test_group_without_one_person_is_refused_though_many_others_are_missing_too(
    clinic: Owner, share: Callable[..., None], run: Callable[..., str]
) -> None:
    """The whole differs by eleven, group a by one: its sums would tell about that one."""
    share(clinic, "cells")
    run(about(clinic, "cells", by="g"), clinic)
    cover = "id <> 0 AND NOT (g = 'b' AND id < 31)"
    with pytest.raises(PolicyRefused) as caught:
        run(about(clinic, "cells", cover, by="g"), clinic)
    assert caught.value.rule == "differencing"
    run(about(clinic, "cells", "NOT (g = 'b' AND id < 31)", by="g"), clinic)


def test_close_results_wait_for_the_owner_who_sees_the_earlier_job(
    clinic: Owner,
    share: Callable[..., None],
    run: Callable[..., str],
    connect: Connect,
    releases: Callable[[Owner, str], list[dict[str, Any]]],
) -> None:
    share(clinic, "waiting", differencing="review")
    first = about(clinic, "waiting")
    run(first, clinic)
    second = run(about(clinic, "waiting", "id <> 7"), clinic)
    listed = {each.run: each for each in clf.releases(connect(clinic))}
    assert second in listed
    assert listed[second].status == "pending"
    latest, _ = releases(clinic, "waiting")
    assert latest["close"] == [first.digest]
    third = run(about(clinic, "waiting", "id >= 30"), clinic)
    assert third not in {each.run for each in clf.releases(connect(clinic))}


def test_of_runs_at_the_same_time_that_tell_by_their_difference_one_is_released(
    clinic: Owner,
    share: Callable[..., None],
    run: Callable[..., str],
    releases: Callable[[Owner, str], list[dict[str, Any]]],
) -> None:
    share(clinic, "at-once")

    def leave_out(person: int) -> str:
        try:
            run(about(clinic, "at-once", f"id <> {person}"), clinic)
        except ClfError as error:
            return error.code
        return "released"

    with ThreadPoolExecutor(4) as pool:
        ended = sorted(pool.map(leave_out, range(4)))
    assert ended == ["policy_refused"] * 3 + ["released"]
    assert len(releases(clinic, "at-once")) == 1


def test_host_can_not_make_the_program_forget(
    clinic: Owner, share: Callable[..., None], run: Callable[..., str]
) -> None:
    share(clinic, "hidden")
    run(about(clinic, "hidden"), clinic)

    def forget(exchange: Exchange) -> None:
        if exchange.path.startswith("/v1/memory/") and b'"records"' in exchange.answer:
            answer = json.loads(exchange.answer)
            answer["memory"]["records"] = []
            exchange.answer = json.dumps(answer).encode()

    with clinic.control.attacked(after=forget), pytest.raises(ServerIdentityMismatch):
        run(about(clinic, "hidden", "id <> 7"), clinic, relayed=True)


def test_program_that_does_not_compare_can_store_nothing(
    clinic: Owner,
    share: Callable[..., None],
    run: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    share(clinic, "silent")
    monkeypatch.setattr(MemoryOfOwners, "settle", lambda *_: set())
    with pytest.raises(PolicyRefused) as caught:
        run(about(clinic, "silent"), clinic)
    assert caught.value.rule == "differencing"


def test_table_shared_anew_is_compared_by_its_people(
    clinic: Owner, share: Callable[..., None], run: Callable[..., str]
) -> None:
    """Yesterday's sum and today's tell about who came in between."""
    share(clinic, "daily", entity="id")
    run(about(clinic, "daily"), clinic)
    one_more = pa.table({"id": [60], "g": ["a"], "income": [1.0]})
    share(clinic, "daily", pa.concat_tables([PEOPLE, one_more]), entity="id")
    with pytest.raises(PolicyRefused):
        run(about(clinic, "daily"), clinic)
    ten_more = pa.table({"id": list(range(60, 70)), "g": ["a"] * 10, "income": [1.0] * 10})
    share(clinic, "daily", pa.concat_tables([PEOPLE, ten_more]), entity="id")
    run(about(clinic, "daily"), clinic)


def test_joined_people_open_to_no_owner_alone_and_are_compared_all_the_same(
    clinic: Owner, insurer: Owner, share: Callable[..., None], run: Callable[..., str]
) -> None:
    share(clinic, "joined", entity="id")
    share(insurer, "joined-too", PEOPLE.select(["id"]).slice(0, 59), entity="id")
    inputs = [job_input(clinic.server, "joined"), job_input(insurer.server, "joined-too")]
    sql = "SELECT SUM(income) AS s FROM data"
    options: dict[str, Any] = {
        "operation": "aggregate",
        "align": join("joined", "joined-too", on="id"),
    }
    both = make_job(inputs, parameters={"sql": sql}, **options)
    run(both, clinic, insurer)
    less = make_job(inputs, parameters={"sql": f"{sql} WHERE id <> 7"}, **options)
    with pytest.raises(PolicyRefused):
        run(less, clinic, insurer)
    # Without the insurer the clinic's memory of that job is closed: then its size decides.
    with pytest.raises(PolicyRefused, match=both.digest[:12]):
        run(about(clinic, "joined"), clinic)
    run(about(clinic, "joined", "id >= 30"), clinic)


def test_groups_are_not_passed_by_leaving_an_earlier_owner_out(
    clinic: Owner, insurer: Owner, share: Callable[..., None], run: Callable[..., str]
) -> None:
    """The sizes differ by many, but one group by one person; what would show it is closed."""
    share(clinic, "outlived", entity="id")
    share(insurer, "outlived-too", PEOPLE.select(["id"]), entity="id")
    inputs = [job_input(clinic.server, "outlived"), job_input(insurer.server, "outlived-too")]
    both = make_job(
        inputs,
        operation="aggregate",
        parameters={"sql": "SELECT g, SUM(income) AS s FROM data GROUP BY g"},
        align=join("outlived", "outlived-too", on="id"),
    )
    run(both, clinic, insurer)
    cover = "id <> 0 AND NOT (g = 'b' AND id < 31)"
    for by, where in (("g", cover), ("", "id <> 0 AND g = 'a'")):
        with pytest.raises(PolicyRefused, match=both.digest[:12]) as caught:
            run(about(clinic, "outlived", where, by=by), clinic)
        assert caught.value.rule == "differencing"
