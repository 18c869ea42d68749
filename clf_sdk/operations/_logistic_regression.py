"""Parameters of ``logistic_regression`` (docs/operations.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from clf_sdk.operations._parameters import Columns, Parameters
from clf_sdk.protocol import ColumnName


class LogisticRegression(Parameters):
    """Regularised logistic regression, with curves that show how well it tells cases apart.

    Parameters
    ----------
    outcome
        Column of truth values, or of 0 and 1.
    predictors
        Columns that explain it; by default all others but the keys.
    penalty
        ``l2``, ``l1``, or ``elastic_net``, which is both; ``none``.
    strength
        Inverse strengths of the penalty, ``C`` in scikit-learn. Of several, cross-validation
        chooses the one with the best mean area under the ROC curve.
    l1_ratio
        Share of the l1 penalty in an elastic net.
    folds
        Number of folds of the cross-validation; None: there is none.
    standardise
        Whether predictors are brought to mean 0 and deviation 1 for the penalty; coefficients are
        given in the columns' own units all the same.
    seed
        Of the division in folds.
    missing
        What to do with rows that lack a value: ``"drop"`` them or ``"refuse"``.
    max_iterations
        Limit of iterations.

    Raises
    ------
    InvalidJob
        A parameter is missing, unknown or makes no sense.
    """

    operation: ClassVar[str] = "logistic_regression"
    reveals: ClassVar[str] = (
        "a coefficient for each predictor, also as a model that can be applied to other rows; how "
        "well the model tells cases apart, with ROC, precision-recall and calibration curves in "
        "steps of whole groups; and the scores of the cross-validation"
    )

    outcome: ColumnName
    predictors: Columns | None = None
    penalty: Literal["l1", "l2", "elastic_net", "none"] = "l2"
    strength: Annotated[
        Sequence[Annotated[float, Field(gt=0)]], Field(min_length=1, max_length=50)
    ] = (1.0,)
    l1_ratio: Annotated[float, Field(gt=0, lt=1)] | None = None
    folds: Annotated[int, Field(ge=2, le=20)] | None = 5
    standardise: bool = True
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    missing: Literal["drop", "refuse"] = "drop"
    max_iterations: Annotated[int, Field(ge=1, le=100_000)] = 1000

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.penalty == "elastic_net") != (self.l1_ratio is not None):
            raise ValueError("l1_ratio is given for an elastic_net, and for nothing else")
        if len(set(self.strength)) != len(self.strength):
            raise ValueError("a strength stands twice")
        if (self.penalty == "none" or self.folds is None) and len(self.strength) > 1:
            raise ValueError("without a penalty, or without folds, no strength can be chosen")
        return self
