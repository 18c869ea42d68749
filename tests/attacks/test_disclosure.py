"""Disclosure rules under attack, at real servers, with the enclave's own code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_enclave._disclosure import Disclosure
from clf_sdk.errors import InvalidExpression, PolicyRefused
from clf_sdk.protocol import InputNode, JobDocument
from clf_sdk.receipt import SignedReceipt
from clf_testing import Owner, Simulation, execute, job_input, make_job

Connect = Callable[..., clf.Connection]


def visits(patients: int, rows: int = 60) -> pa.Table:
    return pa.table(
        {
            "id": pa.array(range(rows), pa.int64()),
            "patient": [f"p{number % patients}" for number in range(rows)],
            "ward": ["ab"[number % 2] for number in range(rows)],
            "cost": [float(10 + number % 7) for number in range(rows)],
        }
    )


def aggregate(owner: Owner, table: str, sql: str, **changes: Any) -> JobDocument:
    return make_job(
        [job_input(owner.server, table, **changes)],
        operation="aggregate",
        parameters={"sql": sql},
        align=InputNode(kind="input", input=table),
    )


def test_people_are_counted_by_a_column_that_the_job_does_not_ask_for(
    clinic: Owner, connect: Connect, simulation: Simulation
) -> None:
    """Sixty visits of four patients are four people, though the analyst never sees who."""
    policy = simulation.policy_with(
        operations=["aggregate"], columns=["id", "ward", "cost"], entity="patient", smallest_group=5
    )
    connection, provider = connect(clinic), simulation.provider()
    job = aggregate(
        clinic,
        "entity",
        "SELECT ward, COUNT(*) AS n FROM data GROUP BY ward",
        columns=["ward", "cost"],
    )
    clf.share(visits(4), name="entity", policy=policy, to=connection)
    with pytest.raises(PolicyRefused) as caught:
        execute(job, [clinic.endpoint], provider, agreed=[clinic])
    assert caught.value.rule == "smallest_group"

    clf.share(visits(20), name="entity", policy=policy, to=connection)
    run = execute(job, [clinic.endpoint], provider)
    receipt = SignedReceipt.parse(connection.receipt(run.run)).predicate
    (granted,) = receipt.owners[0].session.inputs
    assert (granted.columns, granted.entity) == (["ward", "cost"], "patient")
    (report,) = receipt.disclosure.outputs
    assert report.output == "groups"
    assert report.checked == ["smallest_group", "complementary"]
    assert report.suppressed == []

    curious = aggregate(
        clinic,
        "entity",
        "SELECT patient, COUNT(*) AS n FROM data GROUP BY patient",
        columns=["ward", "cost"],
    )
    with pytest.raises(InvalidExpression, match="patient"):
        execute(curious, [clinic.endpoint], provider, agreed=[clinic])


def test_outputs_that_are_too_large_are_refused_at_both_ends(
    clinic: Owner, connect: Connect, simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection, provider = connect(clinic), simulation.provider()
    sql = "SELECT ward, COUNT(*) AS n FROM data GROUP BY ward"
    for number, (rule, most, enough) in enumerate(
        [("output_rows", 1, 2), ("output_bytes", 100, 100_000)]
    ):
        table = f"capped{number}"
        job = aggregate(clinic, table, sql)
        policy = simulation.policy_with(operations=["aggregate"], **{rule: most})
        clf.share(visits(20), name=table, policy=policy, to=connection)
        with pytest.raises(PolicyRefused) as caught:
            execute(job, [clinic.endpoint], provider, agreed=[clinic])
        assert caught.value.rule == rule
        # A program that forgets the rule gets no further: the owner's server has it, too.
        with monkeypatch.context() as patch:
            patch.setattr(Disclosure, "check_sizes", lambda *_args, **_more: None)
            with pytest.raises(PolicyRefused) as caught:
                execute(job, [clinic.endpoint], provider)
        assert caught.value.rule == rule
        wider = simulation.policy_with(operations=["aggregate"], **{rule: enough})
        connection.set_policy(table, wider, widen=True)
        execute(job, [clinic.endpoint], provider)


def test_owner_who_reviews_sees_what_was_hidden_and_by_whose_rule(
    clinic: Owner, insurer: Owner, connect: Connect, simulation: Simulation
) -> None:
    table = visits(60)
    strict = simulation.policy_with(operations=["aggregate"], smallest_group=20, release="review")
    clf.share(table, name="hidden-cells", policy=strict, to=connect(clinic))
    lax = simulation.policy_with(operations=["aggregate"], smallest_group=2)
    clf.share(table.select(["id"]), name="hidden-cells-too", policy=lax, to=connect(insurer))
    job = make_job(
        [job_input(clinic.server, "hidden-cells"), job_input(insurer.server, "hidden-cells-too")],
        operation="aggregate",
        parameters={
            "sql": "SELECT cost, COUNT(*) AS n FROM data GROUP BY cost",
        },
        prepare=[{"kind": "derive", "column": "cost", "expression": "GREATEST(cost, 12)"}],
    )
    run = execute(
        job, [clinic.endpoint, insurer.endpoint], simulation.provider(), agreed=[clinic, insurer]
    )
    (held,) = [each for each in clf.releases(connect(clinic)) if each.run == run.run]
    text = "\n".join(held.report_lines())
    # Nine rows of a cost each but for 12, which stands for three of them.
    assert "4 cells hidden: groups that are too small (rule of yours)" in text
    (report,) = held.report().outputs
    assert [each.servers for each in report.suppressed] == [[clinic.server]]
