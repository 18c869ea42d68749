"""Doctor visits explained: an insurer, a clinic and a hospital fit one Poisson regression.

Data: RAND Health Insurance Experiment, 20,190 people, public domain, as statsmodels ships it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import clf_sdk as clf
from clf_sdk._demo._parts import Scenario, coefficients_of, load, table_of_coefficients

if TYPE_CHECKING:
    import pandas as pd

KEY = "person_id"
OUTCOME = "mdvis"
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "insurer": ("lncoins", "idp", "lpi", "fmde"),
    "clinic": ("physlm", "disea", "hlthg", "hlthf", "hlthp"),
    "hospital": (OUTCOME,),
}
TABLES: Mapping[str, str] = {"insurer": "plans", "clinic": "health", "hospital": "visits"}
PREDICTORS = (*COLUMNS["insurer"], *COLUMNS["clinic"])


def load_people() -> pd.DataFrame:
    """Load the experiment's people, each with an id."""
    people: pd.DataFrame = load("statsmodels.datasets.randhie").load_pandas().data
    people.insert(0, KEY, range(1, len(people) + 1))
    return people


def pooled_fit(people: pd.DataFrame) -> dict[str, float]:
    """Fit the same model where one party sees everything: the reference."""
    sm = load("statsmodels.api")
    design = sm.add_constant(people[list(PREDICTORS)])
    fitted = sm.Poisson(people[OUTCOME], design).fit(disp=False, method="newton", tol=1e-12)
    return {str(term): float(value) for term, value in fitted.params.items()}


def health() -> Scenario:
    """Return the scenario."""
    people = load_people()
    return Scenario(
        name="doctor-visits",
        title="Doctor visits: one Poisson regression over three owners' tables",
        purpose="How do cost sharing and health explain the number of doctor visits?",
        tables={
            owner: (TABLES[owner], people[[KEY, *columns]].sample(frac=1, random_state=number))
            for number, (owner, columns) in enumerate(COLUMNS.items())
        },
        on=KEY,
        operation=clf.GLM(outcome=OUTCOME, predictors=PREDICTORS, family="poisson"),
        reviewer="hospital",
        joint=coefficients_of,
        reference=lambda: pooled_fit(people),
        page=table_of_coefficients,
    )
