"""Regressions whose results are published, to the digits that are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import statsmodels.api as sm

import clf_sdk as clf
from clf_testing import operate

# NIST Statistical Reference Datasets, linear regression: data, certified coefficients, their
# standard deviations, and the residual standard deviation. Longley is in statsmodels.
_NORRIS = """
0.1 0.2 338.8 337.4 118.1 118.2 888.0 884.6 9.2 10.1 228.1 226.5 668.5 666.3 998.5 996.3
449.1 448.6 778.9 777.0 559.2 558.2 0.3 0.4 0.1 0.6 778.1 775.5 668.8 666.9 339.3 338.0
448.9 447.5 10.8 11.6 557.7 556.0 228.3 228.1 998.0 995.8 888.8 887.6 119.6 120.2 0.3 0.3
0.6 0.3 557.6 556.8 339.3 339.1 888.0 887.2 998.5 999.0 778.9 779.0 10.2 11.1 117.6 118.3
228.9 229.2 668.4 669.1 449.2 448.9 0.2 0.5
"""
_WAMPLER3 = [760, -2042, 2111, -1684, 3888, 1858, 11379, 17560, 39287, 64382, 113159, 175108]
_WAMPLER3 += [273291, 400186, 581243, 811568, 1121004, 1506550, 2002767, 2611612, 3369180]
_WAMPLER_ERRORS = [2152.32624678170, 2363.55173469681, 779.343524331583, 101.475507550350]
_WAMPLER_ERRORS += [5.64566512170752, 0.112324854679312]


def _polynomial(outcome: list[float]) -> dict[str, list[float]]:
    powers = {f"x{power}": [float(x) ** power for x in range(21)] for power in range(1, 6)}
    return {"y": outcome, **powers}


def _norris() -> dict[str, list[float]]:
    numbers = [float(number) for number in _NORRIS.split()]
    return {"y": numbers[::2], "x": numbers[1::2]}


def _longley() -> dict[str, list[float]]:
    frame = sm.datasets.longley.load_pandas().data
    return {
        "y": list(frame["TOTEMP"]),
        **{
            name: list(frame[name].astype(float))
            for name in ("GNPDEFL", "GNP", "UNEMP", "ARMED", "POP", "YEAR")
        },
    }


CERTIFIED: dict[str, tuple[Any, bool, list[float], list[float], float]] = {
    "Norris": (
        _norris(),
        True,
        [-0.262323073774029, 1.00211681802045],
        [0.232818234301152, 0.429796848199937e-03],
        0.884796396144373,
    ),
    "NoInt1": (
        {"y": [float(n) for n in range(130, 141)], "x": [float(n) for n in range(60, 71)]},
        False,
        [2.07438016528926],
        [0.165289256198347e-01],
        3.56753034006338,
    ),
    "NoInt2": (
        {"y": [3.0, 4.0, 4.0], "x": [4.0, 5.0, 6.0]},
        False,
        [0.727272727272727],
        [0.420827318078432e-01],
        0.369274472937998,
    ),
    "Longley": (
        _longley(),
        True,
        [
            -3482258.63459582,
            15.0618722713733,
            -0.358191792925910e-01,
            -2.02022980381683,
            -1.03322686717359,
            -0.511041056535807e-01,
            1829.15146461355,
        ],
        [
            890420.383607373,
            84.9149257747669,
            0.334910077722432e-01,
            0.488399681651699,
            0.214274163161675,
            0.226073200069370,
            455.478499142212,
        ],
        304.854073561965,
    ),
    "Wampler3": (
        _polynomial([float(y) for y in _WAMPLER3]),
        True,
        [1.0] * 6,
        _WAMPLER_ERRORS,
        2360.14502379268,
    ),
}


@pytest.mark.parametrize("name", CERTIFIED)
def test_linear_regression_has_the_certified_digits(name: str) -> None:
    data, intercept, coefficients, errors, residual = CERTIFIED[name]
    parameters = clf.GLM(outcome="y", family="gaussian", intercept=intercept)
    found: dict[str, Any] = operate(parameters, pa.table(data))
    table = found["coefficients"].to_pandas()
    np.testing.assert_allclose(table["coefficient"], coefficients, rtol=2e-9)
    np.testing.assert_allclose(table["std_error"], errors, rtol=2e-9)
    assert np.sqrt(found["fit"]["scale"]) == pytest.approx(residual, rel=2e-9)


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
