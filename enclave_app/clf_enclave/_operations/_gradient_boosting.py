"""``gradient_boosting``: boosted trees, the same whenever they are grown.

Reveals: the trees, of which no leaf speaks of fewer people than owners allow; thresholds lie
between values that people have. Source: Friedman, *Greedy function approximation* (2001); Ke et
al., *LightGBM* (2017); computed by LightGBM.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import lightgbm as lgb
import numpy as np
import pyarrow as pa
from sklearn import metrics

from clf_enclave._data import AlignedData
from clf_enclave._disclosure import Disclosure
from clf_enclave._operations._context import Context
from clf_enclave._operations._curves import Scored, calibration, curve, performance
from clf_enclave._operations._outputs import Output
from clf_enclave._operations._people import Numbers, People, check_spread
from clf_enclave._operations._terms import matrix, numbers, truth
from clf_sdk.errors import InvalidJob, PolicyRefused
from clf_sdk.operations import GradientBoosting

_SATURATED = 1 - 1e-9  # share of the variance that is explained


@dataclass(frozen=True)
class _Rows:
    outcome: Numbers
    design: Numbers
    people: People


def _rows(
    data: AlignedData, chosen: GradientBoosting, predictors: list[str], disclosure: Disclosure
) -> _Rows:
    rows = data.complete([chosen.outcome])
    disclosure.check_group(rows)
    # In one order, whoever's rows come first: sums of floats, and so trees, depend on it.
    table, persons = rows.with_persons([chosen.outcome, *predictors], ordered=True)
    people = People.of(persons)
    read = truth if chosen.objective == "binary" else numbers
    outcome = read(table, chosen.outcome)
    if chosen.objective == "poisson" and outcome.min() < 0:
        raise InvalidJob("the outcome of a poisson objective can not be negative")
    check_spread(chosen.outcome, outcome, people, disclosure)
    return _Rows(outcome, matrix(table, predictors), people)


def _train(chosen: GradientBoosting, rows: _Rows, smallest_group: int) -> lgb.Booster:
    options: dict[str, Any] = {
        "objective": chosen.objective,
        "num_leaves": chosen.leaves,
        "learning_rate": chosen.learning_rate,
        "min_data_in_leaf": max(chosen.smallest_leaf, smallest_group),
        "min_data_in_bin": max(3, smallest_group),
        "lambda_l2": chosen.l2,
        "bagging_fraction": chosen.row_share,
        "bagging_freq": int(chosen.row_share < 1),
        "feature_fraction": chosen.column_share,
        "seed": chosen.seed,
        # All rows choose the bins, in one thread: nothing depends on the machine.
        "bin_construct_sample_cnt": max(len(rows.outcome), 1),
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }
    names = [f"f{number}" for number in range(rows.design.shape[1])]
    data = lgb.Dataset(rows.design, rows.outcome, feature_name=names)
    try:
        return lgb.train(options, data, num_boost_round=chosen.trees)
    except lgb.basic.LightGBMError:
        raise InvalidJob("the trees can't be grown", hint="check outcome and predictors") from None


def _check_leaves(booster: lgb.Booster, rows: _Rows, disclosure: Disclosure) -> None:
    """Check that every leaf speaks of enough persons; of enough rows it does by construction."""
    if not rows.people.codes:
        return
    for tree in range(booster.num_trees()):
        leaves = booster.predict(
            rows.design, start_iteration=tree, num_iteration=1, pred_leaf=True, num_threads=1
        )
        numbered = np.asarray(leaves).ravel()
        for leaf in np.unique(numbered):
            if not disclosure.may_show([rows.people.fewest(numbered == leaf)]):
                disclosure.refuse_group("a leaf has too few of them; raise smallest_leaf")


def _check_saturation(
    chosen: GradientBoosting, rows: _Rows, predicted: Numbers, disclosure: Disclosure
) -> None:
    if disclosure.rules.smallest_group == 1:
        return
    if chosen.objective == "binary":
        cases = rows.outcome > 0
        saturated = predicted[cases].min() > predicted[~cases].max()
    else:
        saturated = metrics.r2_score(rows.outcome, predicted) > _SATURATED
    if saturated:
        raise PolicyRefused(
            "the model tells every single person's outcome",
            rule="smallest_group",
            hint="grow fewer or smaller trees, or leave out what the outcome follows from",
        )


def _predict(booster: lgb.Booster, design: Numbers) -> Numbers:
    return np.asarray(booster.predict(design, num_threads=1), dtype=np.float64)


def _errors(outcome: Numbers, predicted: Numbers) -> dict[str, Any]:
    return {
        "rows": len(outcome),
        "rmse": float(metrics.root_mean_squared_error(outcome, predicted)),
        "mean_absolute_error": float(metrics.mean_absolute_error(outcome, predicted)),
        "r_squared": float(metrics.r2_score(outcome, predicted)),
    }


def _text(booster: lgb.Booster) -> str:
    """Return the model's text without the range of each column, which two people have."""
    hidden = "feature_infos=" + " ".join(["none"] * booster.num_feature())
    return re.sub("^feature_infos=.*$", hidden, booster.model_to_string(), flags=re.MULTILINE)


def run(context: Context[GradientBoosting]) -> dict[str, Output]:
    """Grow trees on the training rows, and judge them on the test rows, where the job splits.

    Returns
    -------
    dict
        ``importance``: ``column``, ``gain``, ``splits``; ``fit``: a document with ``trees``,
        ``rows_dropped``, ``judged_on``, and errors, or for a binary outcome what `performance`
        says; for a binary outcome ``curve`` and ``calibration``; and ``model``: a document with
        the model's ``text`` as LightGBM reads it, and ``columns`` in the order of its features.

    Raises
    ------
    InvalidJob
        The parameters do not fit the table.
    PolicyRefused
        Too few people, in all or in a leaf, or the model tells every single outcome.
    """
    chosen, disclosure = context.parameters, context.disclosure
    data, testing = context.data.training, context.data.testing
    predictors = chosen.predictors
    if predictors is None:
        predictors = [name for name in data.columns if name != chosen.outcome]
    predictors = list(predictors)
    if not predictors or len({chosen.outcome, *predictors}) != len(predictors) + 1:
        raise InvalidJob("gradient_boosting: there are no predictors, or a column stands twice")
    rows = _rows(data, chosen, predictors, disclosure)
    booster = _train(chosen, rows, disclosure.rules.smallest_group)
    _check_leaves(booster, rows, disclosure)
    judged, predicted = rows, _predict(booster, rows.design)
    _check_saturation(chosen, rows, predicted, disclosure)
    if testing is not None:
        judged = _rows(testing, chosen, predictors, disclosure)
        predicted = _predict(booster, judged.design)
    fit: dict[str, Any] = {
        "objective": chosen.objective,
        "trees": booster.num_trees(),
        "rows_dropped": data.rows - len(rows.outcome),
        "judged_on": "training" if testing is None else "test",
    }
    outputs: dict[str, Output] = {
        "importance": pa.table(
            {
                "column": pa.array(predictors, pa.large_string()),
                "gain": booster.feature_importance("gain"),
                "splits": booster.feature_importance("split").astype(np.int64),
            }
        ),
        "fit": fit,
    }
    if chosen.objective == "binary":
        scored = Scored(predicted, judged.outcome, judged.people)
        fit |= performance(scored, disclosure)
        outputs["curve"] = curve(scored, disclosure)
        outputs["calibration"] = calibration(scored, disclosure)
    else:
        fit |= _errors(judged.outcome, predicted)
    outputs["model"] = {"model": "trees", "columns": predictors, "text": _text(booster)}
    return outputs
