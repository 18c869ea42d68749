"""``survival``: Kaplan-Meier curves and Cox's proportional hazards.

Reveals: survival in steps of whole groups, coefficients of hazards. Source: Kaplan and Meier,
*Nonparametric estimation* (1958); Cox, *Regression models and life-tables* (1972); Efron, *The
efficiency of Cox's likelihood function* (1977); computed by statsmodels.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import stats
from statsmodels.duration.hazard_regression import PHReg
from statsmodels.duration.survfunc import SurvfuncRight, survdiff
from statsmodels.tools.sm_exceptions import ConvergenceWarning, HessianInversionWarning

from clf_enclave._disclosure import Disclosure
from clf_enclave._operations._context import Context
from clf_enclave._operations._outputs import Output
from clf_enclave._operations._people import Mask, Numbers, People, check_spread, complete_rows
from clf_enclave._operations._terms import is_collinear, matrix, numbers, truth
from clf_sdk.errors import InvalidJob
from clf_sdk.operations import Survival

MOST_STEPS = 200
MOST_GROUPS = 50
_TOLERANCE = 1e-10
_CURVES = pa.schema(
    [
        ("group", pa.large_string()),
        ("time", pa.float64()),
        ("at_risk", pa.int64()),
        ("events", pa.int64()),
        ("survival", pa.float64()),
        ("std_error", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
    ]
)


@dataclass(frozen=True)
class _Followed:
    """People with the time they were followed for, and whether the event was seen then."""

    time: Numbers
    event: Mask
    people: People

    def within(self, chosen: Mask) -> _Followed:
        """Return some of them."""
        people = People(tuple(codes[chosen] for codes in self.people.codes))
        return _Followed(self.time[chosen], self.event[chosen], people)


def _steps(followed: _Followed, disclosure: Disclosure) -> list[float]:
    """Return the times of events at which a curve may be shown.

    Between one and the next the event was seen in nobody or in a whole group, as many were lost
    from sight, and as many are left.
    """
    times = np.unique(followed.time[followed.event])
    if len(times) > MOST_STEPS:
        places = np.linspace(0, len(times) - 1, MOST_STEPS).round().astype(int)
        times = times[np.unique(places)]
    shown: list[float] = []
    last = -np.inf
    for time in times:
        step = (followed.time > last) & (followed.time <= time)
        parts = [step & followed.event, step & ~followed.event, followed.time > time]
        if disclosure.may_show([followed.people.fewest(part) for part in parts]):
            shown.append(float(time))
            last = time
    return shown


def _curve(
    name: str | None, followed: _Followed, confidence: float, disclosure: Disclosure
) -> list[dict[str, Any]]:
    if not followed.event.any():
        return []
    with np.errstate(divide="ignore", invalid="ignore"):  # at the end nobody is at risk
        fitted = SurvfuncRight(followed.time, followed.event.astype(float))
    reach = stats.norm.ppf(0.5 + confidence / 2)
    rows: list[dict[str, Any]] = []
    last = -np.inf
    for time in _steps(followed, disclosure):
        place = int(np.searchsorted(fitted.surv_times, time))
        alive, error = float(fitted.surv_prob[place]), float(fitted.surv_prob_se[place])
        known = alive > 0 and np.isfinite(error)
        # On the scale of the logarithm, as R's survfit does by default.
        factor = np.exp(reach * error / alive) if known else np.nan
        rows.append(
            {
                "group": name,
                "time": time,
                "at_risk": int((followed.time > last).sum()),
                "events": int(
                    ((followed.time > last) & (followed.time <= time) & followed.event).sum()
                ),
                "survival": alive,
                "std_error": error if known else None,
                "ci_low": alive / factor if known else None,
                "ci_high": min(alive * factor, 1.0) if known else None,
            }
        )
        last = time
    return rows


def _cox(
    chosen: Survival, followed: _Followed, design: Numbers, strata: Any
) -> tuple[Any, Numbers]:
    """Fit a Cox model on columns of deviation one; return it with the deviations."""
    scale = design.std(axis=0)
    scale[scale == 0] = 1
    centred = (design - design.mean(axis=0)) / scale
    if is_collinear(centred):
        raise InvalidJob(
            "the predictors are collinear, so their coefficients are not determined",
            hint="leave out predictors that follow from the others",
        )
    model = PHReg(
        followed.time, centred, followed.event.astype(float), strata=strata, ties=chosen.ties
    )
    try:
        with warnings.catch_warnings():
            for kind in (ConvergenceWarning, HessianInversionWarning, RuntimeWarning):
                warnings.simplefilter("error", kind)
            fitted = model.fit(maxiter=chosen.max_iterations, tol=_TOLERANCE)
            if not np.isfinite(fitted.bse).all():
                raise ValueError("not finite")
    except (
        ConvergenceWarning,
        HessianInversionWarning,
        RuntimeWarning,
        np.linalg.LinAlgError,
        ValueError,
    ):
        raise InvalidJob(
            "the Cox model does not converge", hint="check duration, event and predictors"
        ) from None
    return fitted, scale


def _coefficients(fitted: Any, names: list[str], scale: Numbers, confidence: float) -> pa.Table:
    values, errors = fitted.params / scale, fitted.bse / scale
    reach = stats.norm.ppf(0.5 + confidence / 2) * errors
    return pa.table(
        {
            "term": pa.array(names, pa.large_string()),
            "coefficient": values,
            "hazard_ratio": np.exp(values),
            "std_error": errors,
            "z": fitted.tvalues,
            "p": fitted.pvalues,
            "ci_low": values - reach,
            "ci_high": values + reach,
        }
    )


def _names(table: pa.Table, column: str) -> Any:
    """Return the values of a column as texts."""
    values = table[column]
    if pa.types.is_floating(values.type):
        raise InvalidJob(
            f"column {column!r} has type {values.type}, and can't name groups",
            hint="bin it in the job's preparation",
        )
    return np.array(values.cast(pa.string()).to_pylist(), dtype=object)


def _check_groups(labels: Any, column: str, followed: _Followed, disclosure: Disclosure) -> None:
    found = np.unique(labels)
    if len(found) > MOST_GROUPS:
        raise InvalidJob(f"column {column!r} has more than {MOST_GROUPS} different values")
    if not disclosure.may_show([followed.people.fewest(labels == each) for each in found]):
        disclosure.refuse_group(f"column {column!r} has a value that few of them have")


def run(context: Context[Survival]) -> dict[str, Output]:
    """Estimate survival; of the training rows, where the job splits.

    Returns
    -------
    dict
        ``curves``: ``group``, ``time``, ``at_risk`` (since the row before), ``events`` (since
        then), ``survival``, ``std_error`` (Greenwood's), ``ci_low``, ``ci_high``; with predictors
        ``coefficients``: ``term``, ``coefficient``, ``hazard_ratio``, ``std_error``, ``z``, ``p``,
        ``ci_low``, ``ci_high``; and ``fit``, a document with ``rows``, ``events``,
        ``rows_dropped``, and as the model has them ``log_likelihood``, ``ties``, ``log_rank``.

    Raises
    ------
    InvalidJob
        The parameters do not fit the table, or the Cox model can not be fitted.
    PolicyRefused
        Fewer people than the smallest group have complete rows, had or had not the event, or are
        in a group or a stratum.
    """
    chosen, data, disclosure = context.parameters, context.data.training, context.disclosure
    predictors = list(chosen.predictors or [])
    named = [name for name in (chosen.group, chosen.strata) if name is not None]
    columns = list(dict.fromkeys([chosen.duration, chosen.event, *predictors, *named]))
    if len(columns) != 2 + len(predictors) + len(set(named) - set(predictors)):
        raise InvalidJob("survival: a column stands twice")
    rows = complete_rows(data, columns, chosen.missing, disclosure)
    table, persons = rows.with_persons(columns, ordered=True)
    time, event = numbers(table, chosen.duration), truth(table, chosen.event)
    if time.min() < 0:
        raise InvalidJob("a duration can not be negative")
    followed = _Followed(time, event > 0, People.of(persons))
    check_spread(chosen.event, event, followed.people, disclosure)
    fit: dict[str, Any] = {
        "rows": len(time),
        "events": int(event.sum()),
        "rows_dropped": data.rows - len(time),
        "confidence": chosen.confidence,
    }
    curves: list[dict[str, Any]] = []
    if chosen.group is None:
        curves = _curve(None, followed, chosen.confidence, disclosure)
    else:
        labels = _names(table, chosen.group)
        _check_groups(labels, chosen.group, followed, disclosure)
        for label in np.unique(labels):
            part = followed.within(labels == label)
            curves += _curve(str(label), part, chosen.confidence, disclosure)
        if len(np.unique(labels)) > 1:
            statistic, p = survdiff(time, event, labels)
            fit["log_rank"] = {"chi_squared": float(statistic), "p": float(p)}
    outputs: dict[str, Output] = {"curves": pa.Table.from_pylist(curves, _CURVES), "fit": fit}
    if predictors:
        design = matrix(table, predictors)
        everybody = followed.people.fewest(np.ones(len(time), dtype=bool))
        disclosure.check_parameters(len(predictors), everybody)
        for number, name in enumerate(predictors):
            check_spread(name, design[:, number], followed.people, disclosure)
        strata = None
        if chosen.strata is not None:
            labels = _names(table, chosen.strata)
            _check_groups(labels, chosen.strata, followed, disclosure)
            strata = np.unique(labels, return_inverse=True)[1]
        fitted, scale = _cox(chosen, followed, design, strata)
        outputs["coefficients"] = _coefficients(fitted, predictors, scale, chosen.confidence)
        fit |= {"log_likelihood": float(fitted.llf), "ties": chosen.ties}
    elif chosen.strata is not None:
        raise InvalidJob("survival: strata belong to a Cox model, which needs predictors")
    return outputs
