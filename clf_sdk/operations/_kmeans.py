"""Parameters of ``kmeans`` (docs/operations.md)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from clf_sdk.operations._parameters import Columns, Parameters


class KMeans(Parameters):
    """Clusters around means, by Lloyd's algorithm from k-means++ starts.

    Parameters
    ----------
    clusters
        How many.
    columns
        Columns of numbers; by default all but the keys.
    standardise
        Whether columns are brought to mean 0 and deviation 1 before distances are taken; centres
        are given in the columns' own units all the same.
    starts
        How many starts, of which the best is taken.
    seed
        Of the starts.
    missing
        What to do with rows that lack a value: ``"drop"`` them or ``"refuse"``.
    max_iterations
        Limit of iterations of a start.

    Raises
    ------
    InvalidJob
        A parameter is missing, unknown or makes no sense.
    """

    operation: ClassVar[str] = "kmeans"
    reveals: ClassVar[str] = (
        "for each cluster its size and the means of the columns, and how tight the clusters are; "
        "no cluster is smaller than owners allow"
    )

    clusters: Annotated[int, Field(ge=2, le=1000)]
    columns: Columns | None = None
    standardise: bool = True
    starts: Annotated[int, Field(ge=1, le=100)] = 10
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    missing: Literal["drop", "refuse"] = "drop"
    max_iterations: Annotated[int, Field(ge=1, le=10_000)] = 300
