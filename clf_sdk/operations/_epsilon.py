"""Epsilons as they are counted: whole millionths, so that sums are exact."""

from __future__ import annotations

from decimal import Decimal

from clf_sdk.operations._parameters import Parameters
from clf_sdk.protocol import JobDocument

PLACES = 6


def millionths(epsilon: float) -> int:
    """Return an epsilon, or a budget, in millionths.

    Raises
    ------
    ValueError
        It is no number with six decimals at most.
    """
    value = Decimal(repr(float(epsilon)))
    scaled = value.scaleb(PLACES) if value.is_finite() else None
    if scaled is None or scaled != scaled.to_integral_value():
        raise ValueError("an epsilon has six decimals at most")
    return int(scaled)


def in_words(count: int) -> str:
    """Return millionths as people read them."""
    return f"ε {Decimal(count).scaleb(-PLACES).normalize():f}"


def cost_of(parameters: Parameters | None) -> int:
    """Return what a run costs each of its tables, in millionths; None is no operation of ours."""
    return 0 if parameters is None else parameters.epsilon_millionths()


def job_cost(job: JobDocument) -> int:
    """Return what each run of a job costs each of its tables, in millionths of epsilon.

    Raises
    ------
    InvalidJob
        The operation adds noise, and its parameters are not its own.
    """
    from clf_sdk.operations import NOISED, parameters_of  # noqa: PLC0415 - it imports this

    return cost_of(parameters_of(job)) if job.operation.name in NOISED else 0
