"""Parameters of ``gradient_boosting`` (docs/operations.md)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from clf_sdk.operations._parameters import Columns, Parameters
from clf_sdk.protocol import ColumnName


class GradientBoosting(Parameters):
    """Gradient-boosted trees (LightGBM), the same trees whenever they are grown.

    Parameters
    ----------
    outcome
        Column that is explained.
    predictors
        Columns of numbers that explain it; by default all others but the keys. Missing values are
        taken as they are.
    objective
        ``binary``: an outcome of truth values, or 0 and 1; ``regression``: any number; ``poisson``:
        counts.
    trees
        How many.
    leaves
        At most in a tree.
    learning_rate
        Weight of each tree.
    smallest_leaf
        Fewest rows in a leaf; never below the smallest group that an owner allows.
    l2
        Penalty on leaf values.
    row_share, column_share
        Share of the rows and columns that each tree is grown from.
    seed
        Of those shares.

    Raises
    ------
    InvalidJob
        A parameter is missing, unknown or makes no sense.
    """

    operation: ClassVar[str] = "gradient_boosting"
    reveals: ClassVar[str] = (
        "the trees themselves, with their thresholds, leaf values and sizes (no leaf is smaller "
        "than owners allow), how much each predictor adds, and how well the trees predict"
    )

    outcome: ColumnName
    predictors: Columns | None = None
    objective: Literal["binary", "regression", "poisson"]
    trees: Annotated[int, Field(ge=1, le=10_000)] = 100
    leaves: Annotated[int, Field(ge=2, le=1024)] = 31
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    smallest_leaf: Annotated[int, Field(ge=1)] = 20
    l2: Annotated[float, Field(ge=0)] = 0.0
    row_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    column_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
