"""Operations: for each its parameter object; the measured program has what computes it.

``OPERATIONS`` is the one list. An operation ``name`` is two files of the same name:
``clf_sdk/operations/_name.py`` says what can be asked and what that reveals,
``clf_enclave/_operations/_name.py`` computes (docs/operations.md).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from clf_sdk.errors import InvalidJob
from clf_sdk.operations._epsilon import cost_of, in_words, job_cost, millionths
from clf_sdk.operations._parameters import Columns, Parameters
from clf_sdk.operations._recipients import output_recipients

if TYPE_CHECKING:
    from clf_sdk.operations._aggregate import Aggregate
    from clf_sdk.operations._describe import Describe
    from clf_sdk.operations._glm import GLM
    from clf_sdk.operations._gradient_boosting import GradientBoosting
    from clf_sdk.operations._kmeans import KMeans
    from clf_sdk.operations._logistic_regression import LogisticRegression
    from clf_sdk.operations._pca import PCA
    from clf_sdk.operations._private_statistics import PrivateStatistics
    from clf_sdk.operations._python import Python
    from clf_sdk.operations._score import Score
    from clf_sdk.operations._survival import Survival
    from clf_sdk.protocol import JobDocument

__all__ = [
    "GLM",
    "NOISED",
    "OPERATIONS",
    "PCA",
    "Aggregate",
    "Columns",
    "Describe",
    "GradientBoosting",
    "KMeans",
    "LogisticRegression",
    "Parameters",
    "PrivateStatistics",
    "Python",
    "Score",
    "Survival",
    "cost_of",
    "in_words",
    "job_cost",
    "millionths",
    "output_recipients",
    "parameters_class",
    "parameters_of",
]

OPERATIONS: Mapping[str, str] = {
    "aggregate": "Aggregate",
    "describe": "Describe",
    "glm": "GLM",
    "gradient_boosting": "GradientBoosting",
    "kmeans": "KMeans",
    "logistic_regression": "LogisticRegression",
    "pca": "PCA",
    "private_statistics": "PrivateStatistics",
    "python": "Python",
    "score": "Score",
    "survival": "Survival",
}
"""Class of the parameters of each operation; it is imported when it is used."""

NOISED = frozenset({"private_statistics"})
"""Operations whose results carry noise, and cost a part of privacy budgets."""


def parameters_class(name: str) -> type[Parameters]:
    """Return the class of an operation's parameters.

    Raises
    ------
    InvalidJob
        There is no such operation.
    """
    if name not in OPERATIONS:
        known = ", ".join(sorted(OPERATIONS))
        raise InvalidJob(f"there is no operation {name[:64]!r}", hint=f"known are: {known}")
    module = importlib.import_module(f"{__name__}._{name}")
    found: type[Parameters] = getattr(module, OPERATIONS[name])
    return found


def parameters_of(job: JobDocument) -> Parameters | None:
    """Return the parameters of a job's operation; None where it is none of these operations.

    Raises
    ------
    InvalidJob
        They are not this operation's.
    """
    name = job.operation.name
    return parameters_class(name).parse(job.operation.parameters) if name in OPERATIONS else None


def __getattr__(name: str) -> Any:
    for operation, class_name in OPERATIONS.items():
        if class_name == name:
            return parameters_class(operation)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
