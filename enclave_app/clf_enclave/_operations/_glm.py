"""``glm``: generalised linear models by iteratively reweighted least squares.

Reveals: for each term its coefficient, standard error, statistic, p-value and interval, and the
totals of the fit. Source: McCullagh and Nelder, *Generalized Linear Models* (1989); computed by
statsmodels.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pyarrow as pa
import statsmodels.api as sm
from statsmodels.tools.sm_exceptions import (
    ConvergenceWarning,
    PerfectSeparationError,
    PerfectSeparationWarning,
)

from clf_enclave._operations._context import Context
from clf_enclave._operations._outputs import Output
from clf_sdk.errors import InvalidJob
from clf_sdk.operations import GLM

CONSTANT = "const"


_FAMILIES = {
    "gaussian": sm.families.Gaussian,
    "binomial": sm.families.Binomial,
    "poisson": sm.families.Poisson,
}
_TOLERANCE = 1e-12  # of the deviance, relative; tight, so that row order does not show


def _numbers(table: pa.Table, column: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    values = table[column]
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    kind = values.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise InvalidJob(
            f"column {column!r} has type {kind}, and a model needs numbers",
            hint="share it as numbers, for example with pandas.get_dummies",
        )
    numbers: np.ndarray[Any, np.dtype[np.float64]] = (
        values.cast(pa.float64(), safe=False).combine_chunks().to_numpy(zero_copy_only=False)
    )
    return numbers


def _check_outcome(outcome: np.ndarray[Any, np.dtype[np.float64]], family: str) -> None:
    if family == "poisson" and outcome.min() < 0:
        raise InvalidJob("the outcome of a poisson model can not be negative")
    if family == "binomial" and not (outcome.min() >= 0 and outcome.max() <= 1):
        raise InvalidJob("the outcome of a binomial model must lie between 0 and 1")


def _fit(
    outcome: np.ndarray[Any, np.dtype[np.float64]],
    design: np.ndarray[Any, np.dtype[np.float64]],
    parameters: GLM,
) -> Any:
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise InvalidJob(
            "the predictors are collinear, so their coefficients are not determined",
            hint="leave out predictors that follow from the others",
        )
    family = _FAMILIES[parameters.family]()
    try:
        with warnings.catch_warnings():
            # What statsmodels warns of makes the table meaningless, so it ends the job.
            for kind in (ConvergenceWarning, PerfectSeparationWarning, RuntimeWarning):
                warnings.simplefilter("error", kind)
            return sm.GLM(outcome, design, family=family).fit(
                maxiter=parameters.max_iterations, tol=_TOLERANCE, tol_criterion="deviance"
            )
    except (PerfectSeparationError, PerfectSeparationWarning) as error:
        raise InvalidJob("the outcome is perfectly separated by the predictors") from error
    except (ConvergenceWarning, RuntimeWarning, np.linalg.LinAlgError, ValueError) as error:
        raise InvalidJob(
            "the model does not converge", hint="check outcome, family and predictors"
        ) from error


def _finite(value: float) -> float | None:
    """Return a number as JSON can hold it; None for what is not finite."""
    return float(value) if np.isfinite(value) else None


def run(context: Context[GLM]) -> dict[str, Output]:
    """Fit a generalised linear model.

    Returns
    -------
    dict
        ``coefficients``: one row a term, with ``term``, ``coefficient``, ``std_error``, ``z``,
        ``p``, ``ci_low``, ``ci_high``; and ``fit``: one row with ``family``, ``link``, ``rows``,
        ``rows_dropped``, ``log_likelihood``, ``deviance``, ``null_deviance``, ``aic``, ``scale``,
        ``df_residual``, ``iterations``, ``confidence``.

    Raises
    ------
    InvalidJob
        The parameters do not fit the table, or the model can not be fitted.
    PolicyRefused
        Fewer people have complete rows than the smallest group.
    """
    chosen, data = context.parameters, context.data
    predictors = chosen.predictors
    if predictors is None:
        predictors = [name for name in data.columns if name != chosen.outcome]
    columns = [chosen.outcome, *predictors]
    if len(set(columns)) != len(columns) or CONSTANT in predictors:
        raise InvalidJob("glm: a column stands twice, or a predictor is called 'const'")
    rows = data.complete(columns)
    if chosen.missing == "refuse" and rows.rows < data.rows:
        raise InvalidJob(
            "some rows lack a value or hold an infinite one",
            hint='set missing to "drop" to leave them out',
        )
    context.disclosure.check_group(rows)
    complete = rows.table(columns)
    terms = [CONSTANT, *predictors] if chosen.intercept else list(predictors)
    if len(complete) <= len(terms):
        raise InvalidJob(
            f"glm: too few complete rows for {len(terms)} terms",
            hint="check that the keys of the inputs match",
        )
    design = np.column_stack([_numbers(complete, name) for name in predictors])
    if chosen.intercept:
        design = np.column_stack([np.ones(len(complete)), design])
    outcome = _numbers(complete, chosen.outcome)
    _check_outcome(outcome, chosen.family)
    fitted = _fit(outcome, design, chosen)
    interval = fitted.conf_int(alpha=1 - chosen.confidence)
    coefficients = pa.table(
        {
            "term": pa.array(terms, pa.large_string()),
            "coefficient": fitted.params,
            "std_error": fitted.bse,
            "z": fitted.tvalues,
            "p": fitted.pvalues,
            "ci_low": interval[:, 0],
            "ci_high": interval[:, 1],
        }
    )
    fit = {
        "family": chosen.family,
        "link": type(fitted.family.link).__name__.lower(),
        "rows": len(complete),
        "rows_dropped": data.rows - rows.rows,
        "log_likelihood": _finite(fitted.llf),
        "deviance": _finite(fitted.deviance),
        "null_deviance": _finite(fitted.null_deviance),
        "aic": _finite(fitted.aic),
        "scale": _finite(fitted.scale),
        "df_residual": _finite(fitted.df_resid),
        "iterations": int(fitted.fit_history["iteration"]),
        "confidence": chosen.confidence,
    }
    return {"coefficients": coefficients, "fit": fit}
