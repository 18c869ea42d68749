"""The RAND Health Insurance Experiment, as statsmodels fits it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import statsmodels.api as sm

import clf_sdk as clf
from clf_testing import operate


@pytest.fixture(scope="module")
def randhie() -> pd.DataFrame:
    """Every fifth row of the RAND Health Insurance Experiment."""
    frame: pd.DataFrame = sm.datasets.randhie.load_pandas().data.iloc[::5].reset_index(drop=True)
    return frame


def test_poisson_of_the_rand_experiment_equals_statsmodels(randhie: pd.DataFrame) -> None:
    found: dict[str, Any] = operate(
        clf.GLM(outcome="mdvis", family="poisson"), pa.Table.from_pandas(randhie)
    )
    design = sm.add_constant(randhie.drop(columns="mdvis"))
    expected = sm.Poisson(randhie["mdvis"], design).fit(method="newton", disp=False, tol=1e-12)
    table = found["coefficients"].to_pandas()
    np.testing.assert_allclose(table["coefficient"], expected.params, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(table["std_error"], expected.bse, rtol=1e-8)
    assert found["fit"]["log_likelihood"] == pytest.approx(expected.llf, rel=1e-10)


def test_negative_binomial_of_the_rand_experiment_equals_statsmodels(
    randhie: pd.DataFrame,
) -> None:
    found: dict[str, Any] = operate(
        clf.GLM(outcome="mdvis", family="negative_binomial"), pa.Table.from_pandas(randhie)
    )
    design = sm.add_constant(randhie.drop(columns="mdvis"))
    model = sm.NegativeBinomial(randhie["mdvis"], design)
    near = model.fit(disp=False, maxiter=200)
    expected = model.fit(start_params=near.params, method="newton", disp=False, tol=1e-12)
    table = found["coefficients"].to_pandas()
    assert list(table["term"])[-1] == "dispersion"
    np.testing.assert_allclose(table["coefficient"], expected.params, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(table["std_error"], expected.bse, rtol=1e-6)
    assert found["fit"]["log_likelihood"] == pytest.approx(expected.llf, rel=1e-10)
    # Where the dispersion is given as it was estimated, the coefficients are the same.
    given: dict[str, Any] = operate(
        clf.GLM(
            outcome="mdvis",
            family="negative_binomial",
            dispersion=found["fit"]["dispersion"],
        ),
        pa.Table.from_pandas(randhie),
    )
    np.testing.assert_allclose(
        given["coefficients"].to_pandas()["coefficient"], expected.params[:-1], rtol=1e-6, atol=1e-8
    )
