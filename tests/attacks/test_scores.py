"""Predictions reach one person; who else holds the ciphertext opens nothing."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_sdk.errors import PolicyRefused, SealBroken
from clf_sdk.protocol import JobDocument
from clf_testing import Owner, Simulation, execute, job_input, make_job

LINEAR = {
    "model": "linear",
    "link": "identity",
    "terms": [{"factors": [{"column": "x", "category": None}], "coefficient": 2.0}],
}


def test_predictions_are_sealed_to_one_person(
    clinic: Owner, simulation: Simulation, numbers: pa.Table
) -> None:
    officer, analyst = clf.Identity.create(), clf.Identity.create()
    anchor = clf.TrustAnchor.insecure_simulation(simulation.anchor)
    model = {"document": json.dumps(LINEAR), "run": "r", "output": "model", "version": "v"}
    policy = simulation.policy_with(operations=["score"], row_level=[officer.public])
    deciding = clf.connect(clinic.owner)
    clf.share(numbers.select(["id", "x"]), name="scored", policy=policy, to=deciding)
    clf.share(pa.Table.from_pylist([model]), name="scorer", policy=policy, to=deciding)
    inputs = [job_input(clinic.server, "scored"), job_input(clinic.server, "scorer")]

    def job(person: clf.Identity) -> JobDocument:
        asked = clf.Score(model="scorer", predictions={"scored": person}, identify=["id"])
        return make_job(
            inputs,
            operation="score",
            parameters=asked.to_json(),
            align={"kind": "input", "input": "scored"},
            recipients=[analyst.public, officer.public],
        )

    ran = execute(job(officer), [clinic.endpoint], simulation.provider(), agreed=[clinic])
    reading = clf.connect(clinic.analyst)
    for_officer, for_analyst = (
        clf.fetch(ran.run, connections=[reading], identity=who, anchor=anchor)
        for who in (officer, analyst)
    )
    assert set(for_officer.outputs) == {"score", "predictions_scored"}
    predicted = for_officer.to_arrow("predictions_scored")
    assert predicted["prediction"].to_pylist() == [2 * x for x in numbers["x"].to_pylist()]
    assert set(for_analyst.outputs) == {"score"}
    assert for_analyst.receipt.outputs[1].recipients == [officer.public.id]
    with pytest.raises(SealBroken, match="not sealed to your identity"):
        clf.fetch(ran.run, connections=[reading], identity=clf.Identity.create(), anchor=anchor)
    # The policy names the officer, so a job that names the analyst gets nothing.
    with pytest.raises(PolicyRefused) as refused:
        execute(job(analyst), [clinic.endpoint], simulation.provider(), agreed=[clinic])
    assert refused.value.rule == "row_level"
    deciding.close()
    reading.close()


def test_sealed_model_of_a_glm_is_applied_to_new_rows(
    clinic: Owner, simulation: Simulation, numbers: pa.Table
) -> None:
    officer = clf.Identity.create()
    anchor = clf.TrustAnchor.insecure_simulation(simulation.anchor)
    policy = simulation.policy_with(operations=["glm", "score"], row_level=[officer.public])
    deciding, reading = clf.connect(clinic.owner), clf.connect(clinic.analyst)
    clf.share(numbers, name="fitted", policy=policy, to=deciding)
    asked = clf.GLM(outcome="y", predictors=["x"], family="gaussian", model=True)
    job = make_job(
        [job_input(clinic.server, "fitted")],
        operation="glm",
        parameters=asked.to_json(),
        align={"kind": "input", "input": "fitted"},
        recipients=[officer.public],
    )
    ran = execute(job, [clinic.endpoint], simulation.provider(), agreed=[clinic])
    result = clf.fetch(ran.run, connections=[reading], identity=officer, anchor=anchor)
    const, slope = result.to_arrow("coefficients")["coefficient"].to_pylist()
    clf.share(result.model(), name="their_model", policy=policy, to=deciding)
    new = pa.table({"id": [1, 2, 3, 4], "x": [0.0, 1.0, 2.5, None]})
    clf.share(new, name="new_rows", policy=policy, to=deciding)
    scoring = make_job(
        [job_input(clinic.server, "new_rows"), job_input(clinic.server, "their_model")],
        operation="score",
        parameters=clf.Score(
            model="their_model", predictions={"new_rows": officer}, identify=["id"]
        ).to_json(),
        align={"kind": "input", "input": "new_rows"},
        recipients=[officer.public],
    )
    scored = execute(scoring, [clinic.endpoint], simulation.provider(), agreed=[clinic])
    found = clf.fetch(scored.run, connections=[reading], identity=officer, anchor=anchor)
    assert found.to_dict("score")["run"] == ran.run
    predicted = found.to_arrow("predictions_new_rows")["prediction"].to_pylist()
    expected = [pytest.approx(const + slope * x) for x in (0.0, 1.0, 2.5)]
    assert predicted == [*expected, None]
    deciding.close()
    reading.close()
