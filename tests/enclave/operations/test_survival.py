from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import statsmodels.api as sm
from statsmodels.duration import tests as published
from statsmodels.duration.tests.results import survival_r_results as by_r

import clf_sdk as clf
from clf_sdk.errors import InvalidJob, PolicyRefused
from clf_testing import demand, operate

# Klein and Moeschberger's bone marrow transplants with the results of SAS, and simulated data with
# the results of R's survival: both ship with statsmodels.
RESULTS = Path(published.__file__).parent / "results"
BONE_MARROW = pd.read_csv(RESULTS / "bmt.csv")


def _run(frame: pd.DataFrame, smallest_group: int = 1, **asked: Any) -> dict[str, Any]:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    return operate(clf.Survival(**asked), table, rules=[demand(smallest_group=smallest_group)])


def _marrow(smallest_group: int = 1, **asked: Any) -> dict[str, Any]:
    return _run(BONE_MARROW, smallest_group, duration="T", event="Status", **asked)


def test_kaplan_meier_equals_the_published_curve_of_sas() -> None:
    frame = pd.read_csv(RESULTS / "bmt.csv").query("Group == 'ALL'")
    found = _run(frame, duration="T", event="Status")["curves"].to_pandas()
    expected = pd.read_csv(RESULTS / "bmt_results.csv")
    assert found["time"].tolist() == expected["t"].tolist()
    np.testing.assert_allclose(found["survival"], expected["s"], atol=1e-5)
    np.testing.assert_allclose(found["std_error"], expected["se"], atol=1e-5)
    # The interval that R's survfit gives by default.
    half = 1.959963984540054 * found["std_error"] / found["survival"]
    np.testing.assert_allclose(found["ci_low"], found["survival"] * np.exp(-half))


def test_log_rank_test_equals_statsmodels() -> None:
    found = _marrow(group="Group")
    assert set(found["curves"]["group"].to_pylist()) == set(BONE_MARROW["Group"])
    statistic, p = sm.duration.survdiff(
        BONE_MARROW["T"], BONE_MARROW["Status"], BONE_MARROW["Group"]
    )
    assert found["fit"]["log_rank"]["chi_squared"] == pytest.approx(statistic)
    assert found["fit"]["log_rank"]["p"] == pytest.approx(p)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
@pytest.mark.parametrize(("rows", "columns"), [(50, 2), (100, 5)])
def test_cox_equals_the_published_results_of_r(ties: Any, rows: int, columns: int) -> None:
    data = np.loadtxt(RESULTS / f"survival_data_{rows}_{columns}.csv")
    names = [f"x{number}" for number in range(columns)]
    frame = pd.DataFrame(data[:, 3:], columns=names).assign(t=data[:, 0], d=data[:, 1])
    found = _run(frame, duration="t", event="d", predictors=names, ties=ties)
    table = found["coefficients"].to_pandas()
    tag = f"{rows}_{columns}_{ties[:3]}"
    np.testing.assert_allclose(table["coefficient"], getattr(by_r, f"coef_{tag}"), rtol=1e-4)
    np.testing.assert_allclose(table["std_error"], getattr(by_r, f"se_{tag}"), rtol=1e-4)
    strata = frame.assign(place=np.repeat(list("abcde"), rows // 5))
    found = _run(strata, duration="t", event="d", predictors=names, ties=ties, strata="place")
    model = sm.PHReg(frame["t"], frame[names], frame["d"], strata=strata["place"], ties=ties)
    expected = model.fit(tol=1e-12)
    table = found["coefficients"].to_pandas()
    np.testing.assert_allclose(table["coefficient"], expected.params, rtol=1e-7)
    np.testing.assert_allclose(table["std_error"], expected.bse, rtol=1e-7)


def test_heart_transplants_equal_statsmodels() -> None:
    frame = sm.datasets.heart.load_pandas().data
    found = _run(frame, duration="survival", event="censors", predictors=["age"])
    expected = sm.PHReg(frame["survival"], frame[["age"]], frame["censors"], ties="efron").fit()
    row = found["coefficients"].to_pylist()[0]
    assert row["coefficient"] == pytest.approx(expected.params[0], rel=1e-6)
    assert row["hazard_ratio"] == pytest.approx(np.exp(expected.params[0]), rel=1e-6)
    assert found["fit"]["log_likelihood"] == pytest.approx(expected.llf, rel=1e-10)


def test_steps_of_curves_hold_whole_groups() -> None:
    exact = _marrow()["curves"].to_pandas().set_index("time")
    found = _marrow(smallest_group=10)["curves"].to_pandas()
    assert 1 < len(found) < len(exact)
    np.testing.assert_allclose(found["survival"], exact.loc[found["time"], "survival"])
    assert (found["events"] >= 10).all()
    left = [int((BONE_MARROW["T"] > time).sum()) for time in found["time"]]
    assert all(each == 0 or each >= 10 for each in left)
    lost = found["at_risk"].to_numpy() - found["events"].to_numpy() - left
    assert all(each == 0 or each >= 10 for each in lost)


def test_small_groups_are_refused() -> None:
    frame = BONE_MARROW.assign(Group=["rare"] * 3 + ["other"] * (len(BONE_MARROW) - 3))
    with pytest.raises(PolicyRefused, match="'Group'"):
        _run(frame, 5, duration="T", event="Status", group="Group")
    with pytest.raises(PolicyRefused):
        _run(frame.assign(Status=[1] * 3 + [0] * (len(frame) - 3)), 5, duration="T", event="Status")


@pytest.mark.parametrize(
    ("changed", "asked"),
    [
        ({"T": -1.0}, {}),
        ({"Status": 2}, {}),
        ({"Status": 0}, {}),
        ({}, {"strata": "Group"}),
        ({}, {"predictors": ["T"]}),
        ({}, {"predictors": ["Group"]}),
        ({"x": 1.0}, {"predictors": ["x"]}),
        ({"x": 0.5}, {"group": "x"}),
    ],
)
def test_what_can_not_be_estimated_is_refused(changed: dict[str, Any], asked: Any) -> None:
    with pytest.raises(InvalidJob):
        _run(BONE_MARROW.assign(**changed), duration="T", event="Status", **asked)
