from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import clf_sdk as clf
from clf_enclave._alignment import align
from clf_enclave._operations import run_operation
from clf_enclave._workspace import Workspace
from clf_sdk.errors import InvalidJob, PolicyRefused
from clf_sdk.protocol import InputNode
from clf_testing import SECRET, demand, demanding, joined, operate

BUNCH = load_breast_cancer()
NAMES = [name.replace(" ", "_") for name in BUNCH.feature_names]


def _labs() -> dict[str, pa.Table]:
    """Two labs that each measured half of the features of the same tumours."""
    people = np.arange(len(BUNCH.target))
    shuffled = np.random.default_rng(2).permutation(people)
    first = {"id": people} | {name: BUNCH.data[:, n] for n, name in enumerate(NAMES[:15])}
    second = {"id": shuffled, "benign": BUNCH.target[shuffled]}
    second |= {name: BUNCH.data[shuffled, 15 + n] for n, name in enumerate(NAMES[15:])}
    return {"a": pa.table(first), "b": pa.table(second)}


def _run(parameters: Any, smallest_group: int = 1, **job: Any) -> dict[str, Any]:
    return operate(
        parameters,
        _labs(),
        align=joined(["a", "b"]),
        rules=[demand(smallest_group=smallest_group)],
        **job,
    )


def test_two_labs_find_what_scikit_learn_finds_on_pooled_data() -> None:
    found = _run(clf.LogisticRegression(outcome="benign", predictors=NAMES), smallest_group=10)
    pooled = make_pipeline(
        StandardScaler(), LogisticRegression(C=1.0, solver="newton-cholesky", tol=1e-12)
    ).fit(BUNCH.data, BUNCH.target)
    scaler, model = pooled[0], pooled[1]
    coefficients = model.coef_[0] / scaler.scale_
    intercept = model.intercept_[0] - coefficients @ scaler.mean_
    table = found["coefficients"].to_pandas()
    np.testing.assert_allclose(table["coefficient"], [intercept, *coefficients], rtol=1e-8)
    # Folds are drawn from the rows in the order of their values.
    order = np.lexsort([BUNCH.data[:, n] for n in reversed(range(30))] + [BUNCH.target])
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    x, y = BUNCH.data[order], BUNCH.target[order]
    unseen = cross_val_predict(pooled, x, y, cv=folds, method="predict_proba")[:, 1]
    assert found["fit"]["roc_auc"] == pytest.approx(roc_auc_score(y, unseen), rel=1e-8)
    assert found["fit"]["judged_on"] == "cross_validation"
    # The curve is the exact one, in fewer steps.
    false, true, _ = roc_curve(y, unseen, drop_intermediate=False)
    exact = set(zip(np.round(false, 9), np.round(true, 9), strict=True))
    shown = found["curve"].to_pandas()
    points = set(
        zip(
            np.round(shown["false_positive_rate"], 9),
            np.round(shown["true_positive_rate"], 9),
            strict=True,
        )
    )
    assert points <= exact
    assert 3 < len(points) < len(exact)


@pytest.mark.parametrize(("penalty", "ratio"), [("l1", None), ("elastic_net", 0.5)])
def test_sparse_penalties_equal_scikit_learn(penalty: Any, ratio: float | None) -> None:
    asked = NAMES[:3]
    found = _run(
        clf.LogisticRegression(
            outcome="benign",
            predictors=asked,
            penalty=penalty,
            l1_ratio=ratio,
            strength=[0.05],
            folds=None,
            max_iterations=20_000,
        )
    )
    scaler = StandardScaler().fit(BUNCH.data[:, :3])
    model = LogisticRegression(
        C=0.05,
        l1_ratio=ratio or 1.0,
        solver="saga",
        tol=1e-10,
        max_iter=50_000,
        random_state=1,
    ).fit(scaler.transform(BUNCH.data[:, :3]), BUNCH.target)
    values = found["coefficients"].to_pandas()["coefficient"][1:]
    np.testing.assert_allclose(values, model.coef_[0] / scaler.scale_, rtol=1e-5, atol=1e-8)
    if penalty == "l1":
        assert (values == 0).any()
    assert found["fit"]["judged_on"] == "training"


def test_cross_validation_chooses_the_best_strength() -> None:
    found = _run(
        clf.LogisticRegression(
            outcome="benign", predictors=NAMES[:4], strength=[1e-6, 0.1, 10.0], folds=3
        )
    )
    tried = found["cross_validation"].to_pandas()
    best = tried["mean_roc_auc"].idxmax()
    assert tried["chosen"].tolist() == [number == best for number in range(3)]
    assert found["fit"]["strength"] == tried["strength"][best]


def test_test_rows_judge_the_model() -> None:
    kept_back = np.arange(len(BUNCH.target)) % 3 == 0
    columns = {name: BUNCH.data[:, n] for n, name in enumerate(NAMES[:4])}
    table = pa.table(columns | {"benign": BUNCH.target, "kept_back": kept_back})
    parameters = clf.LogisticRegression(outcome="benign")
    with Workspace() as workspace:
        tree = InputNode(kind="input", input="data")
        aligned = align(workspace, tree, {"data": table}, entities={})
        data = replace(aligned.data, split="kept_back")
        found = run_operation(parameters, data, demanding(), secret=SECRET)
    model = make_pipeline(
        StandardScaler(), LogisticRegression(solver="newton-cholesky", tol=1e-12)
    ).fit(BUNCH.data[~kept_back, :4], BUNCH.target[~kept_back])
    scores = model.predict_proba(BUNCH.data[kept_back, :4])[:, 1]
    assert isinstance(found["fit"], dict)
    assert found["fit"]["judged_on"] == "test"
    assert found["fit"]["rows"] == kept_back.sum()
    assert found["fit"]["roc_auc"] == pytest.approx(
        roc_auc_score(BUNCH.target[kept_back], scores), rel=1e-10
    )


def test_steps_of_curves_hold_whole_groups() -> None:
    found = _run(clf.LogisticRegression(outcome="benign", predictors=NAMES[:2]), smallest_group=20)
    curve = found["curve"].to_pandas()
    cases, others = BUNCH.target.sum(), (1 - BUNCH.target).sum()
    for rate, total in (("true_positive_rate", cases), ("false_positive_rate", others)):
        steps = np.diff(np.round(curve[rate] * total), prepend=0)
        assert all(step == 0 or step >= 20 for step in steps)
    for row in found["calibration"].to_pylist():
        inside = round(row["rows"] * row["observed"])
        assert inside == 0 or inside >= 20
        assert row["rows"] == inside or row["rows"] - inside >= 20


def test_perfect_separation_is_refused_where_groups_are_protected() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=200)
    table = pa.table({"x": x, "y": x > 0})
    parameters = clf.LogisticRegression(outcome="y", strength=[1e4], folds=None)
    assert operate(parameters, table)["fit"]["roc_auc"] == 1
    with pytest.raises(PolicyRefused, match="every single"):
        operate(parameters, table, rules=[demand(smallest_group=5)])


@pytest.mark.parametrize(
    "parameters",
    [
        {"l1_ratio": 0.5},
        {"penalty": "elastic_net"},
        {"strength": []},
        {"strength": [1.0, 1.0]},
        {"strength": [-1.0]},
        {"strength": [1.0, 2.0], "folds": None},
    ],
)
def test_parameters_that_contradict_each_other_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(InvalidJob):
        clf.LogisticRegression(outcome="y", **parameters)


def test_outcome_must_be_two_values() -> None:
    table = pa.table({"x": [1.0, 2.0, 3.0] * 5, "y": [0.0, 1.0, 2.0] * 5})
    with pytest.raises(InvalidJob, match="0 and 1"):
        operate(clf.LogisticRegression(outcome="y"), table)
