"""``glm``: generalised linear models.

Reveals: for each term its coefficient, standard error, statistic, p-value and interval, the
totals of the fit, and the names of a formula's categories. Source: McCullagh and Nelder,
*Generalized Linear Models* (1989); Hilbe, *Negative Binomial Regression* (2011). Rows are read by
blocks, several times; families, links and likelihoods are those of statsmodels.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import statsmodels.api as sm
from scipy import stats
from statsmodels.tools.sm_exceptions import DomainWarning

from clf_enclave._data import AlignedData
from clf_enclave._disclosure import Disclosure
from clf_enclave._operations._blocks import Block, Blocks
from clf_enclave._operations._context import Context
from clf_enclave._operations._dispersion import fit_dispersed, scores
from clf_enclave._operations._formula import Formula
from clf_enclave._operations._irls import (
    NoConvergence,
    Separated,
    Solution,
    Triangle,
    solve,
)
from clf_enclave._operations._outputs import Output
from clf_enclave._operations._people import Numbers, complete_rows
from clf_enclave._operations._sandwich import clustered, white
from clf_enclave._operations._spread import Range, Spread
from clf_enclave._operations._terms import CONSTANT, Term, column_terms, is_text, levels
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
_UNSCALED = ("binomial", "poisson", "negative_binomial")
_MOST_TERMS = 1000


@dataclass(frozen=True)
class _Problem:
    """All that is fitted.

    Attributes
    ----------
    blocks
        The rows, with columns of deviation about one.
    levels
        Categories of each column of texts.
    mean
        Mean of the outcome.
    weighted_mean
        The same, with weights.
    rows, observations
        How many rows, and how many observations they stand for.
    """

    blocks: Blocks
    levels: Mapping[str, Sequence[str]]
    mean: float
    weighted_mean: float
    rows: int
    observations: float

    @property
    def scale(self) -> Numbers:
        """What the columns of the design were divided by."""
        assert self.blocks.scale is not None  # noqa: S101 - set where it is made
        return self.blocks.scale


@dataclass(frozen=True)
class _Fit:
    """The fitted model, in the scaled columns of its design."""

    parameters: Numbers
    covariance: Numbers
    totals: Mapping[str, Any]


def _extra_columns(chosen: GLM) -> dict[str, str]:
    named = {
        "offset": chosen.offset,
        "frequency": chosen.frequency_weights,
        "variance": chosen.variance_weights,
    }
    return {name: column for name, column in named.items() if column is not None}


def _check_outcome(least: float, most: float, family: str) -> None:
    if family in ("poisson", "negative_binomial") and least < 0:
        raise InvalidJob(f"the outcome of a {family} model can not be negative")
    if family == "binomial" and not (least >= 0 and most <= 1):
        raise InvalidJob("the outcome of a binomial model must lie between 0 and 1")
    if family == "gamma" and least <= 0:
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


def _check_cells(data: AlignedData, terms: Sequence[Term], disclosure: Disclosure) -> None:
    """Check that categories, and combinations of those that a term has, are not of a few people.

    The constant is about the first category of each column, which is no term of its own.
    """
    crossed = {
        tuple(sorted({factor.column for factor in term.factors if factor.category is not None}))
        for term in terms
    }
    for columns in sorted(crossed - {()}):
        keys = ", ".join(data.sql(name) for name in columns)
        found = data.workspace.execute(
            f"SELECT {data.fewest_people_sql()} FROM {data.relation} GROUP BY {keys}"  # noqa: S608 - names of ours
        ).fetchall()
        if not disclosure.may_show(count for (count,) in found):
            disclosure.refuse_group(
                f"{':'.join(columns)!r} has a category, or a combination of them, of a few people"
            )


def _terms(
    chosen: GLM, rows: AlignedData, formula: Formula | None, predictors: list[str]
) -> tuple[list[Term], dict[str, list[str]]]:
    """Return the terms, and the categories of columns of texts."""
    if formula is None:
        return column_terms(predictors, intercept=chosen.intercept), {}
    texts = [name for name in predictors if is_text(rows.schema.field(name).type)]
    found = levels(rows, texts)
    terms = formula.terms(found)
    if len(terms) > _MOST_TERMS:
        raise InvalidJob(f"the formula makes more than {_MOST_TERMS:,} terms")
    return terms, found


def _problem(context: Context[GLM]) -> tuple[_Problem, int]:
    """Return what is to be fitted, and how many rows were left out."""
    chosen, data, disclosure = context.parameters, context.data.training, context.disclosure
    formula = None if chosen.formula is None else Formula.parse(chosen.formula)
    outcome, predictors = _names(chosen, data, formula)
    extra = _extra_columns(chosen)
    clusters = [] if chosen.cluster is None else [chosen.cluster]
    columns = [outcome, *predictors, *extra.values(), *clusters]
    rows = complete_rows(data, list(dict.fromkeys(columns)), chosen.missing, disclosure)
    dropped = data.rows - rows.rows
    rows = _weighted(
        rows, [column for name, column in extra.items() if name != "offset"], disclosure
    )
    terms, categories = _terms(chosen, rows, formula, predictors)
    if rows.rows <= len(terms):
        raise InvalidJob(
            f"glm: too few complete rows for {len(terms)} terms",
            hint="check that the keys of the inputs match",
        )
    people = [count for count in rows.count_persons().values() if count]
    disclosure.check_parameters(len(terms), min([rows.rows, *people]))
    blocks = Blocks(rows, terms, outcome, extra, chosen.cluster)
    return _looked_through(chosen, blocks, categories, disclosure), dropped


def _looked_through(
    chosen: GLM, blocks: Blocks, categories: Mapping[str, Sequence[str]], disclosure: Disclosure
) -> _Problem:
    """Look at all rows before anything is fitted to them, and hold the model against the rules."""
    width = len(blocks.terms)
    found, triangle = Range(width + 1), Triangle(width)
    total = weighted = weight = observations = 0.0
    for block in blocks:
        if not np.isfinite(block.design).all():
            raise InvalidJob("a product of columns is too large a number")
        found.add(np.column_stack([block.outcome, block.design]))
        triangle.add(block.design)
        total += block.outcome.sum()
        weighted += (block.weights * block.outcome).sum()
        weight += block.weights.sum()
        observations += block.frequency.sum()
    _check_outcome(found.least[0], found.most[0], chosen.family)
    if disclosure.rules.smallest_group > 1:
        _check_spread(blocks, found, disclosure)
        _check_cells(blocks.data, blocks.terms, disclosure)
    factor = triangle.factor
    scale = np.sqrt((factor**2).sum(axis=0) / found.rows)
    scale[scale == 0] = 1
    # As numpy's matrix_rank says it of the design itself, whose singular values these are.
    sizes = np.linalg.svd(factor / scale, compute_uv=False)
    if sizes[-1] <= sizes[0] * max(found.rows, width) * np.finfo(float).eps:
        raise InvalidJob(
            "the predictors are collinear, so their coefficients are not determined",
            hint="leave out predictors that follow from the others",
        )
    return _Problem(
        blocks=blocks.scaled(scale),
        levels=categories,
        mean=total / found.rows,
        weighted_mean=weighted / weight,
        rows=found.rows,
        observations=observations,
    )


def _check_spread(blocks: Blocks, found: Range, disclosure: Disclosure) -> None:
    data = blocks.data
    spread = Spread(
        found,
        inputs=len([each for each in data.persons if each.physical is not None]),
        enough=disclosure.rules.smallest_group,
    )
    for block, persons in blocks.with_persons():
        spread.add(np.column_stack([block.outcome, block.design]), persons)
    names = [term.name if term.factors else None for term in blocks.terms]
    spread.check([blocks.outcome, *names], disclosure)


def _family(chosen: GLM) -> Any:
    link = _LINKS[chosen.link_name]()
    if chosen.family == "negative_binomial":
        return sm.families.NegativeBinomial(link=link, alpha=chosen.dispersion)
    return _FAMILIES[chosen.family](link=link)


def _model(block: Block, family: Any) -> Any:
    """Return statsmodels' model of some rows."""
    return sm.GLM(
        block.outcome,
        block.design,
        family=family,
        offset=block.offset,
        freq_weights=block.frequency,
        var_weights=block.variance,
    )


def _fit_exponential(problem: _Problem, chosen: GLM) -> _Fit:
    family, blocks = _family(chosen), problem.blocks
    solution = solve(blocks, family, mean=problem.mean, max_iterations=chosen.max_iterations)
    last, width = solution.last, len(blocks.terms)
    left = problem.observations - width
    scale = 1.0 if chosen.family in _UNSCALED else last.pearson / left
    likely = scale
    if chosen.family == "gaussian" and chosen.link_name == "identity":
        likely = last.squares / problem.observations  # the likelihood's own estimate
    null = None
    if "offset" in blocks.extra:
        null = solve(
            blocks.only_constant(),
            family,
            mean=problem.mean,
            max_iterations=chosen.max_iterations,
        ).parameters
    log_likelihood = null_deviance = 0.0
    hessian: Any = 0.0
    for block in blocks:
        expected = family.fitted(block.design @ solution.parameters + block.offset)
        log_likelihood += family.loglike(
            block.outcome, expected, block.variance, block.frequency, likely
        )
        middle = np.full(len(block.outcome), problem.weighted_mean)
        if null is not None:
            middle = family.fitted(null[0] + block.offset)
        null_deviance += family.deviance(
            block.outcome, middle, block.variance, block.frequency, 1.0
        )
        if chosen.errors != "model":
            hessian = hessian + _model(block, family).hessian(solution.parameters, scale=1.0)
    inverse = solution.inverse
    covariance = scale * inverse @ inverse.T
    if chosen.errors != "model":
        covariance = _robust(problem, chosen, family, solution, np.linalg.inv(hessian))
    totals = {
        "log_likelihood": log_likelihood,
        "aic": -2 * log_likelihood + 2 * width,
        "df_residual": left,
        "deviance": last.deviance,
        "null_deviance": null_deviance,
        "scale": scale,
        "iterations": solution.iterations,
        "dispersion": chosen.dispersion,
    }
    return _Fit(solution.parameters, covariance, totals)


def _robust(
    problem: _Problem, chosen: GLM, family: Any, solution: Solution, bread: Numbers
) -> Numbers:
    def scores_of(block: Block) -> Numbers:
        found: Numbers = _model(block, family).score_obs(solution.parameters, scale=1.0)
        return found

    def leverages_of(block: Block) -> Numbers:
        expected = family.fitted(block.design @ solution.parameters + block.offset)
        weights = block.weights * family.weights(expected)
        found: Numbers = weights * ((block.design @ solution.inverse) ** 2).sum(axis=1)
        return found

    middle = _middle(problem, chosen, scores_of, leverages_of)
    found: Numbers = bread @ middle @ bread
    return found


def _middle(problem: _Problem, chosen: GLM, scores_of: Any, leverages_of: Any) -> Numbers:
    """Return the middle part of a robust covariance."""
    if chosen.errors != "clustered":
        return white(
            problem.blocks,
            chosen.errors,
            scores_of,
            leverages_of,
            observations=problem.observations,
        )
    middle, clusters = clustered(problem.blocks, scores_of, observations=problem.observations)
    if clusters < 2:  # noqa: PLR2004 - several
        raise InvalidJob(f"clustered errors need several clusters in column {chosen.cluster!r}")
    return middle


def _fit_dispersed(problem: _Problem, chosen: GLM) -> _Fit:
    """Fit coefficients and dispersion together, by maximum likelihood."""
    fitted = fit_dispersed(problem.blocks, mean=problem.mean, max_iterations=chosen.max_iterations)
    at = fitted.at
    bread = np.linalg.inv(-at.hessian)
    covariance: Any = bread
    if chosen.errors != "model":
        middle = _middle(problem, chosen, lambda block: scores(block, at.parameters), None)
        covariance = bread @ middle @ bread
    totals = {
        "log_likelihood": at.value,
        "aic": -2 * at.value + 2 * len(at.parameters),
        "df_residual": problem.rows - len(problem.blocks.terms),
        "deviance": None,
        "null_deviance": None,
        "scale": 1.0,
        "iterations": fitted.iterations,
        "dispersion": float(at.parameters[-1]),
    }
    return _Fit(at.parameters, covariance, totals)


def _fit(problem: _Problem, chosen: GLM) -> _Fit:
    estimated = chosen.family == "negative_binomial" and chosen.dispersion is None
    try:
        with warnings.catch_warnings():
            # What makes a number meaningless makes the table so, and ends the job.
            warnings.simplefilter("error", RuntimeWarning)
            # The user chose a link whose means could leave the family's range; if they do, the
            # deviance is not finite and the fit fails.
            warnings.simplefilter("ignore", DomainWarning)
            fitted = (_fit_dispersed if estimated else _fit_exponential)(problem, chosen)
            if (
                not np.isfinite(fitted.parameters).all()
                or not np.isfinite(np.sqrt(np.diag(fitted.covariance))).all()
            ):
                raise NoConvergence
    except Separated:
        raise InvalidJob(
            "the outcome is perfectly separated by the predictors: the model tells it in every row",
            hint="leave out predictors, first those that follow from the outcome",
        ) from None
    except InvalidJob:
        raise
    except (NoConvergence, RuntimeWarning, np.linalg.LinAlgError, ValueError):
        raise InvalidJob(
            "the model does not converge", hint="check outcome, family and predictors"
        ) from None
    return fitted


def _finite(value: Any) -> Any:
    """Return a number as JSON can hold it; None for what is not finite."""
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value


def _coefficients(fitted: _Fit, problem: _Problem, confidence: float) -> pa.Table:
    """Return the table of inference, in the columns' own units."""
    names = [term.name for term in problem.blocks.terms]
    scale = problem.scale
    if len(fitted.parameters) > len(names):
        names, scale = [*names, DISPERSION], np.append(scale, 1.0)
    values = fitted.parameters / scale
    errors = np.sqrt(np.diag(fitted.covariance)) / scale
    reach = stats.norm.ppf(0.5 + confidence / 2) * errors
    statistics = values / errors
    return pa.table(
        {
            "term": pa.array(names, pa.large_string()),
            "coefficient": values,
            "std_error": errors,
            "z": statistics,
            "p": 2 * stats.norm.sf(np.abs(statistics)),
            "ci_low": values - reach,
            "ci_high": values + reach,
        }
    )


def _document(chosen: GLM, problem: _Problem, coefficients: pa.Table) -> dict[str, Any]:
    """Return the model, for `score`."""
    terms = problem.blocks.terms
    values = coefficients["coefficient"].to_pylist()[: len(terms)]
    return {
        "model": "linear",
        "link": chosen.link_name,
        "terms": [
            term.to_json() | {"coefficient": value}
            for term, value in zip(terms, values, strict=True)
        ],
        "offset": chosen.offset,
        "levels": {name: list(known) for name, known in problem.levels.items()},
    }


def run(context: Context[GLM]) -> dict[str, Output]:
    """Fit a generalised linear model; to the training rows, where the job splits.

    Returns
    -------
    dict
        ``coefficients``: one row a term, with ``term``, ``coefficient``, ``std_error``, ``z``,
        ``p``, ``ci_low``, ``ci_high``; and ``fit``: one row with ``family``, ``link``, ``errors``,
        ``rows``, ``rows_dropped``, ``log_likelihood``, ``deviance``, ``null_deviance``, ``aic``,
        ``scale``, ``dispersion``, ``df_residual``, ``iterations``, ``confidence``; where asked
        for, ``model``, a document that `score` applies.

    Raises
    ------
    InvalidJob
        The parameters do not fit the table, or the model can not be fitted.
    PolicyRefused
        Fewer people have complete rows than the smallest group, a term or a category is of fewer,
        or the model has too many parameters for them.
    """
    chosen = context.parameters
    problem, dropped = _problem(context)
    fitted = _fit(problem, chosen)
    fit = {
        "family": chosen.family,
        "link": chosen.link_name,
        "errors": chosen.errors,
        "rows": problem.rows,
        "rows_dropped": dropped,
        "confidence": chosen.confidence,
        **{name: _finite(value) for name, value in fitted.totals.items()},
    }
    coefficients = _coefficients(fitted, problem, chosen.confidence)
    outputs: dict[str, Output] = {"coefficients": coefficients, "fit": fit}
    if chosen.model:
        outputs["model"] = _document(chosen, problem, coefficients)
    return outputs
