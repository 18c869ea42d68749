"""Survival after a transplant: a hospital and a register fit one Cox model.

Data: Stanford heart transplants (Miller and Halpern, *Regression with censored data*, 1982), as
statsmodels ships it.
"""

from __future__ import annotations

from collections.abc import Mapping

import clf_sdk as clf
from clf_sdk._demo._parts import (
    Scenario,
    bar,
    coefficients_of,
    load,
    rows_of,
    table_of_coefficients,
)
from clf_sdk._result import Output

_KEY = "patient"


def survival() -> Scenario:
    """Return the scenario."""
    frame = load("statsmodels.datasets.heart").load_pandas().data
    frame = frame.rename(columns={"survival": "days", "censors": "died"})
    frame.insert(0, _KEY, range(1, len(frame) + 1))

    def pooled() -> dict[str, float]:
        model = load("statsmodels.duration.hazard_regression").PHReg(
            frame["days"], frame[["age"]], status=frame["died"], ties="efron"
        )
        return {"age": float(model.fit(maxiter=100, tol=1e-12).params[0])}

    return Scenario(
        name="after-transplant",
        title="After a heart transplant: one Cox model over a hospital's and a register's patients",
        purpose="How does age change survival after a heart transplant?",
        tables={
            "hospital": ("transplants", frame[[_KEY, "age"]]),
            "register": (
                "deaths",
                frame[[_KEY, "days", "died"]].sample(frac=1, random_state=1),
            ),
        },
        on=_KEY,
        operation=clf.Survival(duration="days", event="died", predictors=["age"]),
        reviewer="register",
        joint=coefficients_of,
        reference=pooled,
        page=_page,
        smallest_group=3,
    )


def _page(outputs: Mapping[str, Output], reference: Mapping[str, float]) -> list[str]:
    lines = [f"  {'days':>6}  alive (Kaplan-Meier), with its 95 % interval"]
    lines += [
        f"  {row['time']:>6.0f}  {bar(row['survival'])} {row['survival']:.2f}  "
        f"[{row['ci_low']:.2f}, {row['ci_high']:.2f}]"
        for row in rows_of(outputs, "curves")
    ]
    return [*lines, "", *table_of_coefficients(outputs, reference)]
