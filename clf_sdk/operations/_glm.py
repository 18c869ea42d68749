"""Parameters of ``glm`` (docs/operations.md)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from clf_sdk.operations._parameters import Columns, Parameters
from clf_sdk.protocol import ColumnName

_LINKS = {
    "gaussian": ("identity", "log", "inverse"),
    "binomial": ("logit", "probit", "cloglog", "log"),
    "poisson": ("log", "identity", "sqrt"),
    "gamma": ("inverse", "log", "identity"),
    "negative_binomial": ("log",),
}


class GLM(Parameters):
    """A generalised linear model.

    Parameters
    ----------
    outcome
        Column that is explained; not with a formula, which names it.
    predictors
        Columns that explain it, in the order of the result; by default all others but the keys.
    formula
        Instead of outcome and predictors: ``"visits ~ age * copay + region"``. Columns, ``+``,
        ``-``, ``:``, ``*`` and ``**`` with their usual meaning; ``0 +`` leaves the constant out.
        Texts become indicators of their categories, named ``region=north``, without the first.
        Functions are not taken: derive a column before.
    family
        Distribution of the outcome. ``negative_binomial`` has variance ``mean + d mean²``.
    link
        By default the canonical one (for ``negative_binomial``, log): the first of ``identity``,
        ``log``, ``inverse`` (gaussian); ``logit``, ``probit``, ``cloglog``, ``log`` (binomial);
        ``log``, ``identity``, ``sqrt`` (poisson); ``inverse``, ``log``, ``identity`` (gamma).
    dispersion
        The ``d`` of a negative binomial model; by default it is estimated by maximum likelihood,
        and stands as term ``dispersion`` among the coefficients.
    errors
        Standard errors: of the ``model``; robust to heteroscedasticity, ``hc0``, ``hc1`` (with the
        correction for few rows), ``hc2`` or ``hc3`` (with those for rows of large leverage, not
        where the dispersion is estimated); or ``clustered``.
    cluster
        Column with equal values in rows that depend on each other; for clustered errors.
    offset
        Column that is added to the linear predictor.
    frequency_weights
        Column that says how many observations a row stands for.
    variance_weights
        Column of weights by which the variance of a row is divided.
    intercept
        Whether the model has a constant term, named ``const``.
    confidence
        Level of the intervals, between 0 and 1.
    missing
        What to do with rows that lack a value: ``"drop"`` them or ``"refuse"``.
    max_iterations
        Limit of iterations.
    model
        Whether the model itself comes out, too, for `Score`: `Result.model` gives it.

    Raises
    ------
    InvalidJob
        A parameter is missing, unknown or makes no sense.
    """

    operation: ClassVar[str] = "glm"
    reveals: ClassVar[str] = (
        "a table of coefficients with their errors and intervals, and one row about the fit; where "
        "asked for, the model, with the names of all categories of a formula's columns"
    )

    outcome: ColumnName | None = None
    predictors: Columns | None = None
    formula: Annotated[str, StringConstraints(min_length=3, max_length=1000)] | None = None
    family: Literal["gaussian", "binomial", "poisson", "gamma", "negative_binomial"]
    link: Literal["identity", "log", "inverse", "logit", "probit", "cloglog", "sqrt"] | None = None
    dispersion: Annotated[float, Field(gt=0)] | None = None
    errors: Literal["model", "hc0", "hc1", "hc2", "hc3", "clustered"] = "model"
    cluster: ColumnName | None = None
    offset: ColumnName | None = None
    frequency_weights: ColumnName | None = None
    variance_weights: ColumnName | None = None
    intercept: bool = True
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    missing: Literal["drop", "refuse"] = "drop"
    max_iterations: Annotated[int, Field(ge=1, le=10_000)] = 100
    model: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.outcome is None) == (self.formula is None):
            raise ValueError("give either outcome, and predictors if you wish, or formula")
        if self.formula is not None and (self.predictors is not None or not self.intercept):
            raise ValueError("a formula names the predictors, and says 0 + for no constant")
        if self.link is not None and self.link not in _LINKS[self.family]:
            known = ", ".join(_LINKS[self.family])
            raise ValueError(f"link of a {self.family} model is one of {known}")
        if self.dispersion is not None and self.family != "negative_binomial":
            raise ValueError("dispersion belongs to the negative_binomial family")
        if (self.errors == "clustered") != (self.cluster is not None):
            raise ValueError("clustered errors need a cluster column, and nothing else has one")
        estimated = self.family == "negative_binomial" and self.dispersion is None
        if estimated and (self.frequency_weights or self.variance_weights):
            raise ValueError("weights of a negative_binomial model need a given dispersion")
        if estimated and self.errors in ("hc2", "hc3"):
            raise ValueError(f"errors {self.errors} need a given dispersion; or take hc0 or hc1")
        return self

    @property
    def link_name(self) -> str:
        """The link: what is given, or the family's own."""
        return self.link or _LINKS[self.family][0]
