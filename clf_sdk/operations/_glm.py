"""Parameters of ``glm`` (docs/operations.md)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from clf_sdk.operations._parameters import Columns, Parameters
from clf_sdk.protocol import ColumnName


class GLM(Parameters):
    """A generalised linear model.

    Parameters
    ----------
    outcome
        Column that is explained.
    predictors
        Columns that explain it, in the order of the result; by default all others but the keys.
    family
        Distribution of the outcome, each with its canonical link: identity, logit, log.
    intercept
        Whether the model has a constant term, named ``const``.
    confidence
        Level of the intervals, between 0 and 1.
    missing
        What to do with rows that lack a value: ``"drop"`` them or ``"refuse"``.
    max_iterations
        Limit of iterations.

    Raises
    ------
    InvalidJob
        A parameter is missing, unknown or makes no sense.
    """

    operation: ClassVar[str] = "glm"
    reveals: ClassVar[str] = (
        "a table of coefficients with their errors and intervals, and one row about the fit"
    )

    outcome: ColumnName
    predictors: Columns | None = None
    family: Literal["gaussian", "binomial", "poisson"]
    intercept: bool = True
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    missing: Literal["drop", "refuse"] = "drop"
    max_iterations: Annotated[int, Field(ge=1, le=10_000)] = 100
