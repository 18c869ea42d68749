"""``logistic_regression``: regularised, with cross-validation and curves.

Reveals: a coefficient for each predictor, and how well the model does, in steps of whole groups.
Source: Hastie, Tibshirani and Friedman, *The Elements of Statistical Learning* (2009), 4.4 and
7.10; computed by scikit-learn.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.linalg import LinAlgWarning
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression as Model
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from clf_enclave._data import AlignedData
from clf_enclave._disclosure import Disclosure
from clf_enclave._operations._context import Context
from clf_enclave._operations._curves import Scored, calibration, curve, performance
from clf_enclave._operations._outputs import Output
from clf_enclave._operations._people import Numbers, People, check_spread, complete_rows
from clf_enclave._operations._terms import CONSTANT, Factor, Term, matrix, truth
from clf_sdk.errors import InvalidJob, PolicyRefused
from clf_sdk.operations import LogisticRegression

_TOLERANCE = 1e-10
_L1_RATIO = {"l1": 1.0, "l2": 0.0, "none": 0.0}


@dataclass(frozen=True)
class _Rows:
    outcome: Numbers
    design: Numbers
    people: People


@dataclass(frozen=True)
class _Fitted:
    """A model in the columns' own units."""

    intercept: float
    coefficients: Numbers
    iterations: int

    def scores(self, design: Numbers) -> Numbers:
        """Return the probability of each row to be a case."""
        made: Numbers = 1 / (1 + np.exp(-(self.intercept + design @ self.coefficients)))
        return made


def _rows(
    data: AlignedData, chosen: LogisticRegression, predictors: list[str], disclosure: Disclosure
) -> _Rows:
    columns = [chosen.outcome, *predictors]
    rows = complete_rows(data, columns, chosen.missing, disclosure)
    # In one order, whoever's rows come first: folds depend on it.
    table, persons = rows.with_persons(columns, ordered=True)
    people = People.of(persons)
    outcome, design = truth(table, chosen.outcome), matrix(table, predictors)
    check_spread(chosen.outcome, outcome, people, disclosure)
    return _Rows(outcome, design, people)


def _fit(chosen: LogisticRegression, design: Numbers, outcome: Numbers, strength: float) -> _Fitted:
    scaler = StandardScaler(with_mean=chosen.standardise, with_std=chosen.standardise).fit(design)
    smooth = chosen.penalty in ("l2", "none")
    model = Model(
        C=np.inf if chosen.penalty == "none" else strength,
        l1_ratio=_L1_RATIO.get(chosen.penalty, chosen.l1_ratio),
        solver="newton-cholesky" if smooth else "saga",
        tol=_TOLERANCE,
        max_iter=chosen.max_iterations,
        random_state=chosen.seed,
    )
    try:
        with warnings.catch_warnings():
            for kind in (ConvergenceWarning, LinAlgWarning, RuntimeWarning):
                warnings.simplefilter("error", kind)
            model.fit(scaler.transform(design), outcome)
    except (ConvergenceWarning, LinAlgWarning, RuntimeWarning, ValueError):
        raise InvalidJob(
            "the model does not converge",
            hint="standardise, penalise more, or allow more iterations",
        ) from None
    scale = scaler.scale_ if chosen.standardise else np.ones(design.shape[1])
    centre = scaler.mean_ if chosen.standardise else np.zeros(design.shape[1])
    coefficients = model.coef_[0] / scale
    return _Fitted(
        float(model.intercept_[0] - coefficients @ centre), coefficients, int(model.n_iter_[0])
    )


def _validate(
    chosen: LogisticRegression, rows: _Rows, folds: int
) -> tuple[float, pa.Table, Numbers]:
    """Cross-validate each strength.

    Returns
    -------
    tuple
        The best strength, the table of all, and for each row its score by the model of the best
        strength that has not seen it.
    """
    if min(rows.outcome.sum(), len(rows.outcome) - rows.outcome.sum()) < folds:
        raise InvalidJob(
            f"logistic_regression: too few cases, or others, for {folds} folds",
            hint="ask for fewer folds",
        )
    divide = StratifiedKFold(folds, shuffle=True, random_state=chosen.seed)
    areas = np.zeros((len(chosen.strength), folds))
    scores = np.zeros((len(chosen.strength), len(rows.outcome)))
    for fold, (train, test) in enumerate(divide.split(rows.design, rows.outcome)):
        for number, strength in enumerate(chosen.strength):
            fitted = _fit(chosen, rows.design[train], rows.outcome[train], strength)
            scores[number, test] = fitted.scores(rows.design[test])
            areas[number, fold] = roc_auc_score(rows.outcome[test], scores[number, test])
    means = areas.mean(axis=1)
    best = int(np.argmax(means))
    table = pa.table(
        {
            "strength": [float(each) for each in chosen.strength],
            "mean_roc_auc": means,
            "std_roc_auc": areas.std(axis=1),
            "chosen": [number == best for number in range(len(means))],
        }
    )
    return float(chosen.strength[best]), table, scores[best]


def _check_separation(scored: Scored, disclosure: Disclosure) -> None:
    cases = scored.outcome > 0
    apart = scored.scores[cases].min() > scored.scores[~cases].max()
    if disclosure.rules.smallest_group > 1 and apart:
        raise PolicyRefused(
            "the model tells every single person's outcome",
            rule="smallest_group",
            hint="leave out predictors that the outcome follows from",
        )


def _model(fitted: _Fitted, predictors: list[str]) -> dict[str, Any]:
    terms = [Term(()), *(Term((Factor(name),)) for name in predictors)]
    values = [fitted.intercept, *fitted.coefficients.tolist()]
    return {
        "model": "linear",
        "link": "logit",
        "terms": [
            {**term.to_json(), "coefficient": value}
            for term, value in zip(terms, values, strict=True)
        ],
    }


def run(context: Context[LogisticRegression]) -> dict[str, Output]:
    """Fit a regularised logistic regression, and judge it.

    Judged are rows that the model has not seen: the test rows, where the job splits; otherwise
    those left out in each fold of the cross-validation, or with ``folds=None`` the rows that it
    was fitted to.

    Returns
    -------
    dict
        ``coefficients``: ``term``, ``coefficient``; ``fit``: a document with ``strength``,
        ``rows``, ``rows_dropped``, ``iterations``, ``judged_on`` and what `performance` says;
        ``curve`` and ``calibration``; ``cross_validation`` where there was one; ``model``, the
        coefficients as JSON.

    Raises
    ------
    InvalidJob
        The parameters do not fit the table, or the model does not converge.
    PolicyRefused
        Too few people, or the model tells every single outcome.
    """
    chosen, disclosure = context.parameters, context.disclosure
    data, testing = context.data.training, context.data.testing
    predictors = chosen.predictors
    if predictors is None:
        predictors = [name for name in data.columns if name != chosen.outcome]
    predictors = list(predictors)
    if len({chosen.outcome, *predictors}) != len(predictors) + 1 or CONSTANT in predictors:
        raise InvalidJob("logistic_regression: a column stands twice, or is called 'const'")
    rows = _rows(data, chosen, predictors, disclosure)
    everybody = np.ones(len(rows.outcome), dtype=bool)
    disclosure.check_parameters(len(predictors) + 1, rows.people.fewest(everybody))
    for number, name in enumerate(predictors):
        check_spread(name, rows.design[:, number], rows.people, disclosure)
    outputs: dict[str, Output] = {}
    strength, unseen = float(chosen.strength[0]), None
    if chosen.folds is not None and (testing is None or len(chosen.strength) > 1):
        strength, outputs["cross_validation"], unseen = _validate(chosen, rows, chosen.folds)
    fitted = _fit(chosen, rows.design, rows.outcome, strength)
    trained = Scored(fitted.scores(rows.design), rows.outcome, rows.people)
    _check_separation(trained, disclosure)
    if testing is not None:
        test = _rows(testing, chosen, predictors, disclosure)
        judged = Scored(fitted.scores(test.design), test.outcome, test.people)
    else:
        judged = trained if unseen is None else Scored(unseen, rows.outcome, rows.people)
    on = "test" if testing is not None else "training" if unseen is None else "cross_validation"
    return {
        "coefficients": pa.table(
            {
                "term": pa.array([CONSTANT, *predictors], pa.large_string()),
                "coefficient": [fitted.intercept, *fitted.coefficients.tolist()],
            }
        ),
        "fit": {
            "penalty": chosen.penalty,
            "strength": None if chosen.penalty == "none" else strength,
            "rows_dropped": data.rows - len(rows.outcome),
            "iterations": fitted.iterations,
            "judged_on": on,
            **performance(judged, disclosure),
        },
        "curve": curve(judged, disclosure),
        "calibration": calibration(judged, disclosure),
        **outputs,
        "model": _model(fitted, predictors),
    }
