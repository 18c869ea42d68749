"""Parameters of ``survival`` (docs/operations.md)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from clf_sdk.operations._parameters import Columns, Parameters
from clf_sdk.protocol import ColumnName


class Survival(Parameters):
    """Kaplan-Meier curves, and Cox's proportional hazards.

    Parameters
    ----------
    duration
        Column with the time until the event, or until a person was last seen.
    event
        Column of truth values, or 0 and 1: whether the event was seen.
    predictors
        Columns of a Cox model; without them there is none.
    group
        Column by whose values there is a Kaplan-Meier curve each; by default one curve for all.
    strata
        Column by whose values the Cox model has a baseline hazard each.
    ties
        How events at the same time are counted in the Cox model.
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

    operation: ClassVar[str] = "survival"
    reveals: ClassVar[str] = (
        "curves of how many people have survived until when, in steps of whole groups; the "
        "coefficients of the hazards with their errors and intervals, and one row about the fit"
    )

    duration: ColumnName
    event: ColumnName
    predictors: Columns | None = None
    group: ColumnName | None = None
    strata: ColumnName | None = None
    ties: Literal["efron", "breslow"] = "efron"
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    missing: Literal["drop", "refuse"] = "drop"
    max_iterations: Annotated[int, Field(ge=1, le=10_000)] = 100
