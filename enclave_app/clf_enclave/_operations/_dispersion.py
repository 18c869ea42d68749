"""Negative binomial models whose dispersion is estimated, by blocks of rows.

Coefficients and dispersion together, by Newton's method on the likelihood; likelihood, score and
Hessian of a block are statsmodels'. Source: Hilbe, *Negative Binomial Regression* (2011), 8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import statsmodels.api as sm

from clf_enclave._operations._blocks import Block, Blocks
from clf_enclave._operations._irls import NoConvergence, solve
from clf_enclave._operations._people import Numbers

_DECREMENT = 1e-18  # of the logarithm of the likelihood: a billionth of a standard error, squared
_MOST_HALVINGS = 40
_LEAST_DISPERSION = 1e-3


@dataclass(frozen=True)
class Likelihood:
    """The likelihood at some parameters, of which the dispersion is the last.

    Attributes
    ----------
    parameters
        Where.
    value
        Its logarithm.
    score, hessian
        Derivatives of that.
    """

    parameters: Numbers
    value: float
    score: Numbers
    hessian: Numbers


@dataclass(frozen=True)
class Dispersed:
    """The fitted model.

    Attributes
    ----------
    at
        The likelihood at its maximum.
    iterations
        How often the rows were read for it.
    """

    at: Likelihood
    iterations: int


def _model(block: Block) -> Any:
    # Variance mean + d mean². The parameter is d, where NegativeBinomial takes its logarithm.
    return sm.NegativeBinomialP(
        block.outcome, block.design, p=2, offset=block.offset, check_rank=False
    )


def scores(block: Block, parameters: Numbers) -> Numbers:
    """Return the score of each row."""
    found: Numbers = _model(block).score_obs(parameters)
    return found


def _likelihood(blocks: Blocks, parameters: Numbers) -> Likelihood:
    value, score, hessian = 0.0, 0.0, 0.0
    for block in blocks:
        model = _model(block)
        value = value + model.loglike(parameters)
        score = score + model.score(parameters)
        hessian = hessian + model.hessian(parameters)
    return Likelihood(parameters, float(value), np.asarray(score), np.asarray(hessian))


def _start(blocks: Blocks, mean: float, max_iterations: int) -> Numbers:
    """Return Poisson's coefficients, and the dispersion by moments."""
    family = sm.families.Poisson()
    near = solve(blocks, family, mean=mean, max_iterations=max_iterations).parameters
    over = square = 0.0
    for block in blocks:
        expected = family.fitted(block.design @ near + block.offset)
        over += ((block.outcome - expected) ** 2 - expected).sum()
        square += (expected**2).sum()
    return np.append(near, max(over / square, _LEAST_DISPERSION))


def _direction(at: Likelihood) -> tuple[Numbers, bool]:
    """Return where to go, and whether the likelihood is curved as at a maximum.

    Where it is not, the step goes uphill all the same.
    """
    sizes, axes = np.linalg.eigh(-at.hessian)
    least = np.finfo(float).eps * len(sizes) * np.abs(sizes).max()
    made = axes @ ((axes.T @ at.score) / np.maximum(np.abs(sizes), least))
    return made, bool(sizes[0] > least)


def fit_dispersed(blocks: Blocks, *, mean: float, max_iterations: int) -> Dispersed:
    """Fit coefficients and dispersion.

    Parameters
    ----------
    blocks
        The rows, without weights.
    mean
        Mean of the outcome.
    max_iterations
        After which it is given up.

    Raises
    ------
    NoConvergence
        There is no maximum, as where outcomes vary less than Poisson's.
    """
    at = _likelihood(blocks, _start(blocks, mean, max_iterations))
    iterations = 1
    while iterations <= max_iterations:
        step, curved = _direction(at)
        if not np.isfinite(step).all():
            raise NoConvergence
        if curved and at.score @ step <= _DECREMENT:
            return Dispersed(at, iterations)
        for _ in range(_MOST_HALVINGS):
            tried = at.parameters + step
            if tried[-1] > 0:
                iterations += 1
                found = _likelihood(blocks, tried)
                if found.value >= at.value - 1e-12 * abs(at.value):
                    at = found
                    break
            step = step / 2
        else:
            raise NoConvergence
    raise NoConvergence
