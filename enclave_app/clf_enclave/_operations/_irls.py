"""Iteratively reweighted least squares by blocks of rows.

Each step is a least-squares problem whose triangular factor is made block by block (TSQR: the
factor so far and the next block are decomposed together), so that no product of columns costs
digits, and memory is one block. Where columns are far from following from each other, products
cost none that matter, and are many times as fast: they are tried first. Source: McCullagh and
Nelder, *Generalized Linear Models* (1989), 2.5; Demmel, Grigori, Hoemmen and Langou,
*Communication-optimal parallel and sequential QR and LU factorizations* (2012). Families and links
are those of statsmodels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import lapack, solve_triangular
from statsmodels.genmod import families

from clf_enclave._operations._blocks import Block, Blocks
from clf_enclave._operations._people import Numbers

_STEP = 1e-10
"""How far the last step may go: of the square root of the deviance."""
_WELL_CONDITIONED = 1e-5
"""Least of the squares of the singular values, relative: products keep eleven digits."""
_NOISE = 1e-13
"""The same, of the size of the terms of the linear predictor: what rounding leaves of any fit."""


class Separated(Exception):
    """The model tells every outcome."""


class NoConvergence(Exception):
    """The steps do not end, or lead to what is no number."""


class IllConditioned(Exception):
    """Columns come near to following from each other."""


class Triangle:
    """The triangular factor of rows that come block by block.

    Parameters
    ----------
    columns
        How many.
    """

    def __init__(self, columns: int) -> None:
        self.factor: Numbers = np.empty((0, columns))

    def add(self, rows: Numbers) -> None:
        """Take in rows."""
        stacked = np.empty((len(self.factor) + len(rows), rows.shape[1]), order="F")
        stacked[: len(self.factor)], stacked[len(self.factor) :] = self.factor, rows
        made, _, _, _ = lapack.dgeqrf(stacked, lwork=64 * rows.shape[1], overwrite_a=True)
        self.factor = np.triu(made[: rows.shape[1]])

    def split(self) -> tuple[Numbers, Numbers]:
        """Return the factor of all columns but the last, and what it makes of the last."""
        return self.factor[:-1, :-1], self.factor[:-1, -1]


class Products:
    """The same from the products of columns, where that is exact enough.

    Parameters
    ----------
    columns
        How many.
    """

    def __init__(self, columns: int) -> None:
        self._sums: Any = np.zeros((columns, columns))

    def add(self, rows: Numbers) -> None:
        """Take in rows."""
        self._sums += rows.T @ rows

    def split(self) -> tuple[Numbers, Numbers]:
        """Return what `Triangle.split` returns.

        Raises
        ------
        IllConditioned
            Products have lost too many digits.
        """
        sums, last = self._sums[:-1, :-1], self._sums[:-1, -1]
        if not np.isfinite(sums).all():
            raise NoConvergence
        size = np.sqrt(np.diag(sums))
        if not (size > 0).all():
            raise IllConditioned
        values = np.linalg.eigvalsh(sums / np.outer(size, size))
        if values[0] <= _WELL_CONDITIONED * values[-1]:
            raise IllConditioned
        factor: Numbers = np.linalg.cholesky(sums).T
        return factor, solve_triangular(factor, last, trans="T")


@dataclass(frozen=True)
class Step:
    """What one pass finds where the model stands.

    Attributes
    ----------
    parameters
        Where the step leads.
    factor
        Triangular factor of the weighted design.
    move, noise
        How far the step goes, and how far rounding alone goes, squared, in the units of the
        deviance.
    deviance
        Before the step.
    pearson
        Pearson's chi-squared.
    squares
        Weighted sum of squared residuals.
    exact
        Whether every outcome is told.
    """

    parameters: Numbers
    factor: Numbers
    move: float
    noise: float
    deviance: float
    pearson: float
    squares: float
    exact: bool


@dataclass(frozen=True)
class Solution:
    """Where the steps end.

    Attributes
    ----------
    last
        The last of them.
    iterations
        How many there were.
    """

    last: Step
    iterations: int

    @property
    def parameters(self) -> Numbers:
        """The coefficients."""
        return self.last.parameters

    @property
    def inverse(self) -> Numbers:
        """Return the inverse of the triangular factor; times its transpose it is the covariance."""
        width = len(self.last.parameters)
        found: Numbers = solve_triangular(self.last.factor, np.eye(width))
        return found


def solve(blocks: Blocks, family: Any, *, mean: float, max_iterations: int) -> Solution:
    """Fit a generalised linear model.

    Parameters
    ----------
    blocks
        The rows.
    family
        One of statsmodels'.
    mean
        Mean of the outcome, near which the search starts.
    max_iterations
        After which it is given up.

    Raises
    ------
    Separated
        The model tells every outcome.
    NoConvergence
        It does not converge.
    """
    parameters: Numbers | None = None
    made: type[Triangle | Products] = Products
    for iteration in range(1, max_iterations + 1):
        try:
            step = _step(blocks, family, parameters, mean, made)
        except IllConditioned:
            made = Triangle
            step = _step(blocks, family, parameters, mean, made)
        if not np.isfinite(step.deviance) or not np.isfinite(step.parameters).all():
            raise NoConvergence
        if parameters is not None:
            if step.exact:
                raise Separated
            if step.move <= _STEP**2 * step.deviance + step.noise:
                return Solution(step, iteration)
        parameters = step.parameters
    raise NoConvergence


def _start(family: Any, outcome: Numbers, mean: float) -> Numbers:
    """Return the means from which statsmodels starts, too, with the mean of all rows."""
    if isinstance(family, families.Binomial):
        found: Numbers = family.starting_mu(outcome)
        return found
    return (outcome + mean) / 2


def _step(
    blocks: Blocks,
    family: Any,
    parameters: Numbers | None,
    mean: float,
    made: type[Triangle | Products],
) -> Step:
    gathered = made(len(blocks.terms) + 1)
    deviance = pearson = squares = size = 0.0
    exact = True
    for block in blocks:
        expected, left = _working(block, family, parameters, mean)
        weights = block.weights * family.weights(expected)
        root = np.sqrt(weights)[:, None]
        gathered.add(np.hstack([block.design * root, left[:, None] * root]))
        deviance += family.deviance(block.outcome, expected, block.variance, block.frequency, 1.0)
        residuals = block.weights * (block.outcome - expected) ** 2
        squares += residuals.sum()
        pearson += (residuals / family.variance(expected)).sum()
        if parameters is not None:
            # Terms that cancel each other leave more than the sum of them tells.
            terms = np.abs(block.design) @ np.abs(parameters)
            size += (weights * terms**2).sum()
        exact = exact and np.allclose(expected, block.outcome, rtol=1e-12, atol=1e-8)
    factor, rest = gathered.split()
    moved = solve_triangular(factor, rest)
    return Step(
        parameters=moved if parameters is None else parameters + moved,
        factor=factor,
        move=float(rest @ rest),
        noise=_NOISE**2 * float(size),
        deviance=float(deviance),
        pearson=float(pearson),
        squares=float(squares),
        exact=exact,
    )


def _working(
    block: Block, family: Any, parameters: Numbers | None, mean: float
) -> tuple[Numbers, Numbers]:
    """Return the expected outcome, and what a step has to explain.

    After the first, a step explains what the steps before it left over, not the whole again:
    rounding of an early step is mended by the next.
    """
    if parameters is None:
        expected = _start(family, block.outcome, mean)
        known = family.link(expected) - block.offset
    else:
        expected = family.fitted(block.design @ parameters + block.offset)
        known = 0.0
    return expected, known + family.link.deriv(expected) * (block.outcome - expected)
