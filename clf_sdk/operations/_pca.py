"""Parameters of ``pca`` (docs/operations.md)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from clf_sdk.operations._parameters import Columns, Parameters


class PCA(Parameters):
    """Principal components.

    Parameters
    ----------
    components
        How many; by default as many as columns.
    columns
        Columns of numbers; by default all but the keys.
    standardise
        Whether columns are brought to deviation 1: components of the correlations, not of the
        covariances.
    missing
        What to do with rows that lack a value: ``"drop"`` them or ``"refuse"``.

    Raises
    ------
    InvalidJob
        A parameter is missing, unknown or makes no sense.
    """

    operation: ClassVar[str] = "pca"
    reveals: ClassVar[str] = (
        "the loadings of each component, the variance it explains, and the mean and deviation of "
        "each column; no person's coordinates"
    )

    components: Annotated[int, Field(ge=1, le=1000)] | None = None
    columns: Columns | None = None
    standardise: bool = True
    missing: Literal["drop", "refuse"] = "drop"
