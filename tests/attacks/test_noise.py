"""Results with noise at real servers, with the enclave's own code: what they tell beside noise."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_sdk._http import HttpClient
from clf_sdk.align import join
from clf_sdk.errors import ClfError, PolicyRefused
from clf_sdk.protocol import JobDocument, ReleasedShapes
from clf_sdk.receipt._text import as_text, describe
from clf_testing import Owner, Simulation, execute, job_input, make_job

Connect = Callable[..., clf.Connection]
PEOPLE = pa.table(
    {
        "id": pa.array(range(60), pa.int64()),
        "sex": ["mf"[number % 2] for number in range(60)],
        "income": [1000.0 + number for number in range(60)],
    }
)
READER = clf.Identity.create()


@pytest.fixture
def share(connect: Connect, simulation: Simulation) -> Callable[..., None]:
    def make(owner: Owner, name: str, table: pa.Table = PEOPLE, **rules: Any) -> None:
        fields: dict[str, Any] = {
            "operations": ["private_statistics"],
            "smallest_group": 50,
            "differencing": "refuse",
            "round_counts": 7,
            "privacy_budget": 250.0,
        }
        policy = simulation.policy_with(**(fields | rules))
        clf.share(table, name=name, policy=policy, to=connect(owner))

    return make


def about(
    tables: list[tuple[Owner, str]], *, epsilon: float = 50, where: str | None = None
) -> JobDocument:
    asked = clf.PrivateStatistics(
        statistics=[
            clf.private.count(epsilon=epsilon),
            clf.private.mean("income", lower=0, upper=2000, epsilon=epsilon),
        ]
    )
    return make_job(
        [job_input(owner.server, table) for owner, table in tables],
        operation=asked.operation,
        parameters=asked.to_json(),
        align=join(*(table for _, table in tables), on="id"),
        prepare=[] if where is None else [clf.prepare.filter(where)],
        recipients=[READER.public],
    )


@pytest.fixture
def run(simulation: Simulation) -> Callable[..., str]:
    def make(job: JobDocument, *owners: Owner) -> str:
        endpoints = [owner.endpoint for owner in owners]
        return execute(job, endpoints, simulation.provider(), agreed=owners).run

    return make


def spent(connection: clf.Connection, table: str) -> float:
    column = connection.tables().set_index("name")["privacy_spent"]
    return float(column.loc[table])


def test_joint_result_with_noise_says_no_exact_number_of_people(
    clinic: Owner,
    insurer: Owner,
    share: Callable[..., None],
    run: Callable[..., str],
    connect: Connect,
    simulation: Simulation,
) -> None:
    share(clinic, "noised")
    share(insurer, "noised-too", PEOPLE.select(["id"]).slice(0, 45), entity="id")
    tables = [(clinic, "noised"), (insurer, "noised-too")]
    done = run(about(tables), clinic, insurer)

    connections = [connect(owner, "analyst") for owner in (clinic, insurer)]
    anchor = clf.TrustAnchor.insecure_simulation(simulation.anchor)
    result = clf.fetch(done, connections=connections, identity=READER, anchor=anchor)
    found = result.to_pandas("statistics").set_index("name").value
    assert found["count"] == 45  # epsilon 50 is no privacy, and nearly no noise
    assert found["mean_income"] == pytest.approx(1022, abs=200)

    receipt = result.receipt
    assert receipt.aligned_rows is None
    told = as_text(describe(receipt.signed.predicate))
    assert "not told: the results carry noise" in told
    assert "checked for privacy budget" in told
    assert "discrete Laplace of opendp" in told
    assert "mean_income: ε 25, one person changes it by 1000 at most" in told
    sessions = [owner.session for owner in receipt.signed.predicate.owners]
    assert {each.epsilon_millionths for one in sessions for each in one.inputs} == {100_000_000}
    for owner, table in tables:
        assert spent(connect(owner), table) == 100
        assert "150 of 250 is left" in connect(owner).table(table)._repr_html_()
        # Neither owner learns how many of its people the other one has.
        client = HttpClient(owner.owner)
        released = client.ask(ReleasedShapes, "GET", f"/v1/tables/{table}/releases")
        client.close()
        assert released.releases == []


def test_group_of_one_and_its_difference_cost_budget_and_nothing_else_refuses_them(
    clinic: Owner, share: Callable[..., None], run: Callable[..., str], connect: Connect
) -> None:
    """Without noise smallest group and differencing would refuse, and so tell of a person."""
    share(clinic, "singled", privacy_budget=3.0)
    for where in ("id = 7", "id <> 7", "id = 61"):
        run(about([(clinic, "singled")], epsilon=0.5, where=where), clinic)
    assert spent(connect(clinic), "singled") == 3
    job = about([(clinic, "singled")], epsilon=0.000001, where="id = 8")
    with pytest.raises(PolicyRefused, match="does not suffice") as caught:
        run(job, clinic)
    assert caught.value.rule == "privacy_budget"


def test_budget_of_one_owner_ends_the_joint_run(
    clinic: Owner, insurer: Owner, share: Callable[..., None], run: Callable[..., str]
) -> None:
    share(clinic, "much")
    share(insurer, "little", PEOPLE.select(["id"]), privacy_budget=0.5)
    job = about([(clinic, "much"), (insurer, "little")], epsilon=1)
    with pytest.raises(PolicyRefused, match="'little'") as caught:
        run(job, clinic, insurer)
    assert caught.value.rule == "privacy_budget"


def test_runs_at_the_same_time_spend_no_more_than_there_is(
    clinic: Owner, share: Callable[..., None], run: Callable[..., str], connect: Connect
) -> None:
    share(clinic, "raced", privacy_budget=3.0)
    job = about([(clinic, "raced")], epsilon=0.5)
    clinic.agree(job)

    def attempt(_: int) -> str:
        try:
            run(job, clinic)
        except ClfError as error:
            return str(getattr(error, "rule", error))
        return "released"

    with ThreadPoolExecutor(6) as pool:
        ended = list(pool.map(attempt, range(6)))
    assert sorted(ended) == ["privacy_budget"] * 3 + ["released"] * 3
    # What was spent outlives the process.
    clinic.process.kill()
    clinic.process.start()
    assert spent(connect(clinic), "raced") == 3
    with pytest.raises(PolicyRefused):
        run(job, clinic)
