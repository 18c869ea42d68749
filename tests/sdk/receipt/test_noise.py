"""A receipt of results with noise says what they cost, and no receipt of others looks like one."""

from __future__ import annotations

from typing import Any

import pytest

import clf_sdk as clf
from clf_sdk.errors import ReceiptInconsistent
from clf_testing import HandmadeRun
from clf_testing._receipts import job_of

NOISE: dict[str, Any] = {
    "library": "opendp 0",
    "mechanism": "discrete Laplace",
    "max_rows_per_person": 1,
    "inputs": [{"input": "t0", "person": "key", "columns": ["id"], "changed_rows": 1}],
    "statistics": [
        {
            "name": "count",
            "epsilon": 0.5,
            "sensitivity": 1.0,
            "scale": 2.0,
            "lower": None,
            "upper": None,
        }
    ],
}


def _receipt(made: HandmadeRun, *, taken: int, noised: bool) -> bytes:
    """Return a receipt whose owners took so much from their budgets."""
    statement = made.statement()
    predicate = statement["predicate"]
    for number, owner in enumerate(made.owners):
        inputs = predicate["owners"][number]["session"]["inputs"]
        changed = [entry | {"epsilon_millionths": taken} for entry in inputs]
        predicate["owners"][number] = made.proof(owner, inputs=changed)
    if noised:
        predicate["aligned_rows"] = None
        for output in predicate["disclosure"]["outputs"]:
            output |= {"checked": ["privacy_budget"], "noise": NOISE}
    return made.seal(statement)


@pytest.fixture
def noised(made: HandmadeRun) -> HandmadeRun:
    asked = clf.PrivateStatistics(statistics=[clf.private.count(epsilon=0.5)])
    made.job = job_of(made.owners, operation=asked.operation, parameters=asked.to_json())
    return made


def test_receipt_says_cost_and_noise_and_no_number_of_rows(noised: HandmadeRun) -> None:
    receipt = noised.verify(_receipt(noised, taken=500_000, noised=True))
    assert receipt.aligned_rows is None
    (first, *_) = receipt.disclosure.outputs
    assert first.noise is not None
    assert first.noise.to_json() == NOISE


@pytest.mark.parametrize("taken", [0, 499_999, 500_001])
def test_owner_that_took_another_part_of_its_budget_is_seen(
    noised: HandmadeRun, taken: int
) -> None:
    with pytest.raises(ReceiptInconsistent, match="not what the job costs"):
        noised.verify(_receipt(noised, taken=taken, noised=True))


def test_receipt_of_a_job_without_noise_has_rows_and_costs_nothing(made: HandmadeRun) -> None:
    assert made.verify(_receipt(made, taken=0, noised=False)).aligned_rows == 7
    with pytest.raises(ReceiptInconsistent, match="not what the job costs"):
        made.verify(_receipt(made, taken=1, noised=False))
    with pytest.raises(ReceiptInconsistent, match="this job is not"):
        made.verify(_receipt(made, taken=0, noised=True))


def test_job_whose_cost_can_not_be_read_is_refused(made: HandmadeRun) -> None:
    made.job = job_of(made.owners, operation="private_statistics", parameters={"statistics": []})
    with pytest.raises(ReceiptInconsistent):
        made.verify(_receipt(made, taken=0, noised=True))
