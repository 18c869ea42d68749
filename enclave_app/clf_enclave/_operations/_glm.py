"""``glm``: generalised linear models.

Reveals: for each term its coefficient, standard error, statistic, p-value and interval, and the
totals of the fit. Source: McCullagh and Nelder, *Generalized Linear Models* (1989); Hilbe,
*Negative Binomial Regression* (2011); computed by statsmodels.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import statsmodels.api as sm
from scipy import stats
from statsmodels.tools.sm_exceptions import (
    ConvergenceWarning,
    DomainWarning,
    PerfectSeparationError,
    PerfectSeparationWarning,
)

from clf_enclave._data import AlignedData
from clf_enclave._disclosure import Disclosure
from clf_enclave._operations._context import Context
from clf_enclave._operations._formula import Formula
from clf_enclave._operations._outputs import Output
from clf_enclave._operations._people import Numbers, People, check_spread, complete_rows
from clf_enclave._operations._terms import (
    CONSTANT,
    Term,
    categories,
    column_terms,
    design,
    is_collinear,
    is_text,
    numbers,
)
from clf_sdk.errors import InvalidJob, PolicyRefused
from clf_sdk.operations import GLM

DISPERSION = "dispersion"

_FAMILIES = {
    "gaussian": sm.families.Gaussian,
    "binomial": sm.families.Binomial,
    "poisson": sm.families.Poisson,
    "gamma": sm.families.Gamma,
}
_LINKS = {
    "identity": sm.families.links.Identity,
    "log": sm.families.links.Log,
    "inverse": sm.families.links.InversePower,
    "logit": sm.families.links.Logit,
    "probit": sm.families.links.Probit,
    "cloglog": sm.families.links.CLogLog,
    "sqrt": sm.families.links.Sqrt,
}
_ERRORS = {"model": "nonrobust", "hc0": "HC0", "hc1": "HC1", "clustered": "cluster"}
_TOLERANCE = 1e-12  # of the deviance, relative; tight, so that row order does not show


@dataclass(frozen=True)
class _Problem:
    """All that is fitted. Columns of the design are divided by `scale`, or large ones (a year to
    the fifth power) would cost the small ones their digits.
    """  # noqa: D205 - one sentence

    terms: list[Term]
    outcome: Numbers
    design: Numbers
    scale: Numbers
    extra: dict[str, Numbers]
    """Offset and weights, as statsmodels calls them."""
    clusters: np.ndarray[Any, np.dtype[np.int64]] | None


def _extra_columns(chosen: GLM) -> dict[str, str]:
    named = {
        "offset": chosen.offset,
        "freq_weights": chosen.frequency_weights,
        "var_weights": chosen.variance_weights,
    }
    return {name: column for name, column in named.items() if column is not None}


def _check_outcome(outcome: Numbers, family: str) -> None:
    if family in ("poisson", "negative_binomial") and outcome.min() < 0:
        raise InvalidJob(f"the outcome of a {family} model can not be negative")
    if family == "binomial" and not (outcome.min() >= 0 and outcome.max() <= 1):
        raise InvalidJob("the outcome of a binomial model must lie between 0 and 1")
    if family == "gamma" and outcome.min() <= 0:
        raise InvalidJob("the outcome of a gamma model must be positive")


def _weighted(data: AlignedData, weights: list[str], disclosure: Disclosure) -> AlignedData:
    """Leave out rows without weight, and check that a few people do not carry all of it."""
    for name in weights:
        column = data.sql(name)
        sums = f"min({column}), sum({column}), sum({column} * {column}) FROM {data.relation}"
        least, total, squares = data.workspace.one(f"SELECT {sums}")
        if least < 0:
            raise InvalidJob(f"weights in column {name!r} can not be negative")
        data = data.where(f"{column} > 0")
        disclosure.check_group(data)
        # Kish's effective sample size: rows that count for nothing are none.
        if total * total < disclosure.rules.smallest_group * squares:
            raise PolicyRefused(
                f"the weights in column {name!r} leave the result to a few people",
                rule="smallest_group",
                hint="use weights that differ less",
            )
    return data


def _names(chosen: GLM, data: AlignedData, formula: Formula | None) -> tuple[str, list[str]]:
    """Return the outcome and the columns that explain it."""
    if formula is not None:
        return formula.outcome, list(formula.columns)
    outcome = str(chosen.outcome)
    others = {outcome, *_extra_columns(chosen).values(), chosen.cluster}
    predictors = chosen.predictors
    if predictors is None:
        predictors = [name for name in data.columns if name not in others]
    if len({outcome, *predictors}) != len(predictors) + 1 or CONSTANT in predictors:
        raise InvalidJob("glm: a column stands twice, or a predictor is called 'const'")
    return outcome, list(predictors)


def _problem(context: Context[GLM]) -> tuple[_Problem, int]:
    """Return what is to be fitted, and how many rows were left out."""
    chosen, data, disclosure = context.parameters, context.data.training, context.disclosure
    formula = None if chosen.formula is None else Formula.parse(chosen.formula)
    outcome_name, predictors = _names(chosen, data, formula)
    extra = _extra_columns(chosen)
    columns = list(dict.fromkeys([outcome_name, *predictors, *extra.values()]))
    clusters = [] if chosen.cluster is None else [chosen.cluster]
    rows = complete_rows(data, list({*columns, *clusters}), chosen.missing, disclosure)
    dropped = data.rows - rows.rows
    rows = _weighted(
        rows, [column for name, column in extra.items() if name != "offset"], disclosure
    )
    wanted = list(dict.fromkeys([*columns, *clusters]))
    table, persons = rows.with_persons(wanted)
    if formula is None:
        terms = column_terms(predictors, intercept=chosen.intercept)
    else:
        texts = [name for name in predictors if is_text(table.schema.field(name).type)]
        terms = formula.terms({name: categories(table, name) for name in texts})
    if table.num_rows <= len(terms):
        raise InvalidJob(
            f"glm: too few complete rows for {len(terms)} terms",
            hint="check that the keys of the inputs match",
        )
    people = People.of(persons)
    disclosure.check_parameters(len(terms), people.fewest(np.ones(table.num_rows, bool)))
    outcome = numbers(table, outcome_name)
    _check_outcome(outcome, chosen.family)
    made = design(table, terms)
    check_spread(outcome_name, outcome, people, disclosure)
    for number, term in enumerate(terms):
        if term.factors:
            check_spread(term.name, made[:, number], people, disclosure)
    scale = np.sqrt((made**2).mean(axis=0))
    scale[scale == 0] = 1
    made /= scale
    if is_collinear(made):
        raise InvalidJob(
            "the predictors are collinear, so their coefficients are not determined",
            hint="leave out predictors that follow from the others",
        )
    problem = _Problem(
        terms=terms,
        outcome=outcome,
        design=made,
        scale=scale,
        extra={name: numbers(table, column) for name, column in extra.items()},
        clusters=_clusters(table, chosen.cluster),
    )
    return problem, dropped


def _clusters(table: pa.Table, column: str | None) -> Any:
    if column is None:
        return None
    codes = pc.dictionary_encode(table[column].combine_chunks()).indices
    numbered = codes.to_numpy(zero_copy_only=False)
    if numbered.max() < 1:
        raise InvalidJob(f"clustered errors need several clusters in column {column!r}")
    return numbered


def _covariance(problem: _Problem, errors: str) -> dict[str, Any]:
    keywords = {} if problem.clusters is None else {"groups": problem.clusters}
    return {"cov_type": _ERRORS[errors], "cov_kwds": keywords}


def _fit_exponential(problem: _Problem, chosen: GLM) -> Any:
    link = _LINKS[chosen.link_name]()
    if chosen.family == "negative_binomial":
        family = sm.families.NegativeBinomial(link=link, alpha=chosen.dispersion)
    else:
        family = _FAMILIES[chosen.family](link=link)
    model = sm.GLM(problem.outcome, problem.design, family=family, **problem.extra)
    return model.fit(
        maxiter=chosen.max_iterations,
        tol=_TOLERANCE,
        tol_criterion="deviance",
        **_covariance(problem, chosen.errors),
    )


def _fit_dispersed(problem: _Problem, chosen: GLM) -> Any:
    """Fit coefficients and dispersion together, by maximum likelihood."""
    model = sm.NegativeBinomial(
        problem.outcome, problem.design, loglike_method="nb2", **problem.extra
    )
    near = model.fit(method="bfgs", maxiter=chosen.max_iterations, disp=False, gtol=1e-4)
    return model.fit(
        start_params=near.params,
        method="newton",
        maxiter=chosen.max_iterations,
        tol=1e-10,
        disp=False,
        **_covariance(problem, chosen.errors),
    )


def _fit(problem: _Problem, chosen: GLM) -> Any:
    estimated = chosen.family == "negative_binomial" and chosen.dispersion is None
    try:
        with warnings.catch_warnings():
            # What statsmodels warns of makes the table meaningless, so it ends the job.
            for kind in (ConvergenceWarning, PerfectSeparationWarning, RuntimeWarning):
                warnings.simplefilter("error", kind)
            # The user chose a link whose means could leave the family's range; if they do, the
            # deviance is not finite and the fit fails.
            warnings.simplefilter("ignore", DomainWarning)
            fitted = (_fit_dispersed if estimated else _fit_exponential)(problem, chosen)
            if not np.isfinite(fitted.params).all() or not np.isfinite(fitted.bse).all():
                raise ValueError("not finite")
    except (PerfectSeparationError, PerfectSeparationWarning):
        raise InvalidJob("the outcome is perfectly separated by the predictors") from None
    except (ConvergenceWarning, RuntimeWarning, np.linalg.LinAlgError, ValueError):
        raise InvalidJob(
            "the model does not converge", hint="check outcome, family and predictors"
        ) from None
    return fitted


def _finite(value: float) -> float | None:
    """Return a number as JSON can hold it; None for what is not finite."""
    return float(value) if np.isfinite(value) else None


def _coefficients(fitted: Any, problem: _Problem, confidence: float) -> pa.Table:
    """Return the table of inference, in the columns' own units."""
    names = [term.name for term in problem.terms]
    scale = problem.scale
    if len(fitted.params) > len(names):
        names, scale = [*names, DISPERSION], np.append(scale, 1.0)
    values, errors = fitted.params / scale, fitted.bse / scale
    reach = stats.norm.ppf(0.5 + confidence / 2) * errors
    return pa.table(
        {
            "term": pa.array(names, pa.large_string()),
            "coefficient": values,
            "std_error": errors,
            "z": fitted.tvalues,
            "p": fitted.pvalues,
            "ci_low": values - reach,
            "ci_high": values + reach,
        }
    )


def _totals(fitted: Any, chosen: GLM) -> dict[str, Any]:
    """Return the totals of the fit; those that a maximum likelihood fit lacks are None."""
    if hasattr(fitted, "deviance"):
        return {
            "deviance": _finite(fitted.deviance),
            "null_deviance": _finite(fitted.null_deviance),
            "scale": _finite(fitted.scale),
            "iterations": int(fitted.fit_history["iteration"]),
            "dispersion": chosen.dispersion,
        }
    return {
        "deviance": None,
        "null_deviance": None,
        "scale": 1.0,
        "iterations": int(fitted.mle_retvals["iterations"]),
        "dispersion": float(fitted.params[-1]),
    }


def run(context: Context[GLM]) -> dict[str, Output]:
    """Fit a generalised linear model; to the training rows, where the job splits.

    Returns
    -------
    dict
        ``coefficients``: one row a term, with ``term``, ``coefficient``, ``std_error``, ``z``,
        ``p``, ``ci_low``, ``ci_high``; and ``fit``: one row with ``family``, ``link``, ``errors``,
        ``rows``, ``rows_dropped``, ``log_likelihood``, ``deviance``, ``null_deviance``, ``aic``,
        ``scale``, ``dispersion``, ``df_residual``, ``iterations``, ``confidence``.

    Raises
    ------
    InvalidJob
        The parameters do not fit the table, or the model can not be fitted.
    PolicyRefused
        Fewer people have complete rows than the smallest group, a term differs for fewer, or the
        model has too many parameters for them.
    """
    chosen = context.parameters
    problem, dropped = _problem(context)
    fitted = _fit(problem, chosen)
    coefficients = _coefficients(fitted, problem, chosen.confidence)
    fit = {
        "family": chosen.family,
        "link": chosen.link_name,
        "errors": chosen.errors,
        "rows": len(problem.outcome),
        "rows_dropped": dropped,
        "log_likelihood": _finite(fitted.llf),
        "aic": _finite(fitted.aic),
        "df_residual": _finite(fitted.df_resid),
        "confidence": chosen.confidence,
        **_totals(fitted, chosen),
    }
    return {"coefficients": coefficients, "fit": fit}
