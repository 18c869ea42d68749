"""Spending explained: a bank and a credit bureau fit one linear regression.

Data: average monthly credit card expenditure of 72 people (Greene, *Econometric Analysis*, 1993),
as statsmodels ships it.
"""

from __future__ import annotations

import clf_sdk as clf
from clf_sdk._demo._parts import Scenario, coefficients_of, load, table_of_coefficients

_KEY = "customer"
_PREDICTORS = ("age", "income", "income_squared", "owns_home")


def credit() -> Scenario:
    """Return the scenario."""
    frame = load("statsmodels.datasets.ccard").load_pandas().data
    frame.columns = ["spending", "age", "income", "income_squared", "owns_home"]
    frame.insert(0, _KEY, [f"C{number:04}" for number in range(len(frame))])

    def pooled() -> dict[str, float]:
        sm = load("statsmodels.api")
        fitted = sm.OLS(frame["spending"], sm.add_constant(frame[list(_PREDICTORS)])).fit()
        return {str(term): float(value) for term, value in fitted.params.items()}

    return Scenario(
        name="card-spending",
        title="Card spending: one linear regression over a bank's and a credit bureau's customers",
        purpose="How do income and age explain what people spend with their cards?",
        tables={
            "bank": ("accounts", frame[[_KEY, "spending", "owns_home"]]),
            "bureau": (
                "files",
                frame[[_KEY, "age", "income", "income_squared"]].sample(frac=1, random_state=1),
            ),
        },
        on=_KEY,
        operation=clf.GLM(
            outcome="spending", predictors=_PREDICTORS, family="gaussian", errors="hc1"
        ),
        reviewer="bank",
        joint=coefficients_of,
        reference=pooled,
        page=table_of_coefficients,
    )
