"""NIST Statistical Reference Datasets (StRD), linear regression, all eleven sets.

Data, certified coefficients, their standard deviations and the residual standard deviation, as
published by the National Institute of Standards and Technology
(https://www.itl.nist.gov/div898/strd/lls/lls.shtml), in the public domain. Longley's data ship
with statsmodels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import statsmodels.api as sm

import clf_sdk as clf
from clf_enclave._operations import _blocks
from clf_sdk.errors import InvalidJob
from clf_testing import operate


@dataclass(frozen=True)
class Certified:
    """A data set with what NIST certifies, and the digits to be reached."""

    data: dict[str, list[float]]
    coefficients: list[float]
    errors: list[float]
    residual: float
    digits: float
    intercept: bool = True


def _numbers(text: str) -> list[float]:
    return [float(number) for number in text.split()]


def _polynomial(x: list[float], y: list[float], degree: int) -> dict[str, list[float]]:
    powers = {f"x{power}": [each**power for each in x] for power in range(1, degree + 1)}
    return {"y": y, **powers}


_NORRIS = _numbers(
    """
0.1 0.2 338.8 337.4 118.1 118.2 888.0 884.6 9.2 10.1 228.1 226.5 668.5 666.3 998.5 996.3
449.1 448.6 778.9 777.0 559.2 558.2 0.3 0.4 0.1 0.6 778.1 775.5 668.8 666.9 339.3 338.0
448.9 447.5 10.8 11.6 557.7 556.0 228.3 228.1 998.0 995.8 888.8 887.6 119.6 120.2 0.3 0.3
0.6 0.3 557.6 556.8 339.3 339.1 888.0 887.2 998.5 999.0 778.9 779.0 10.2 11.1 117.6 118.3
228.9 229.2 668.4 669.1 449.2 448.9 0.2 0.5
"""
)
_PONTIUS_Y = _numbers(
    """
.11019 .21956 .32949 .43899 .54803 .65694 .76562 .87487 .98292 1.09146 1.20001 1.30822 1.41599
1.52399 1.63194 1.73947 1.84646 1.95392 2.06128 2.16844 .11052 .22018 .32939 .43886 .54798 .65739
.76596 .87474 .98300 1.09150 1.20004 1.30818 1.41613 1.52408 1.63159 1.73965 1.84696 1.95445
2.06177 2.16829
"""
)
_PONTIUS_X = [150_000.0 * n for n in range(1, 21)] * 2
_FILIP_X = _numbers(
    """
-6.860120914 -4.324130045 -4.358625055 -4.358426747 -6.955852379 -6.661145254 -6.355462942
-6.118102026 -7.115148017 -6.815308569 -6.519993057 -6.204119983 -5.853871964 -6.109523091
-5.79832982 -5.482672118 -5.171791386 -4.851705903 -4.517126416 -4.143573228 -3.709075441
-3.499489089 -6.300769497 -5.953504836 -5.642065153 -5.031376979 -4.680685696 -4.329846955
-3.928486195 -8.56735134 -8.363211311 -8.107682739 -7.823908741 -7.522878745 -7.218819279
-6.920818754 -6.628932138 -6.323946875 -5.991399828 -8.781464495 -8.663140179 -8.473531488
-8.247337057 -7.971428747 -7.676129393 -7.352812702 -7.072065318 -6.774174009 -6.478861916
-6.159517513 -6.835647144 -6.53165267 -6.224098421 -5.910094889 -5.598599459 -5.290645224
-4.974284616 -4.64454848 -4.290560426 -3.885055584 -3.408378962 -3.13200249 -8.726767166
-8.66695597 -8.511026475 -8.165388579 -7.886056648 -7.588043762 -7.283412422 -6.995678626
-6.691862621 -6.392544977 -6.067374056 -6.684029655 -6.378719832 -6.065855188 -5.752272167
-5.132414673 -4.811352704 -4.098269308 -3.66174277 -3.2644011
"""
)
_FILIP_Y = _numbers(
    """
0.8116 0.9072 0.9052 0.9039 0.8053 0.8377 0.8667 0.8809 0.7975 0.8162 0.8515 0.8766 0.8885 0.8859
0.8959 0.8913 0.8959 0.8971 0.9021 0.909 0.9139 0.9199 0.8692 0.8872 0.89 0.891 0.8977 0.9035
0.9078 0.7675 0.7705 0.7713 0.7736 0.7775 0.7841 0.7971 0.8329 0.8641 0.8804 0.7668 0.7633 0.7678
0.7697 0.77 0.7749 0.7796 0.7897 0.8131 0.8498 0.8741 0.8061 0.846 0.8751 0.8856 0.8919 0.8934
0.894 0.8957 0.9047 0.9129 0.9209 0.9219 0.7739 0.7681 0.7665 0.7703 0.7702 0.7761 0.7809 0.7961
0.8253 0.8602 0.8809 0.8301 0.8664 0.8834 0.8898 0.8964 0.8963 0.9074 0.9119 0.9228
"""
)
_TO_TWENTY = [float(n) for n in range(21)]
_WAMPLER1 = _numbers(
    """
1 6 63 364 1365 3906 9331 19608 37449 66430 111111 177156 271453 402234 579195 813616 1118481
1508598 2000719 2613660 3368421
"""
)
_WAMPLER2 = _numbers(
    """
1.00000 1.11111 1.24992 1.42753 1.65984 1.96875 2.38336 2.94117 3.68928 4.68559 6.00000 7.71561
9.92992 12.75603 16.32384 20.78125 26.29536 33.05367 41.26528 51.16209 63.00000
"""
)
_WAMPLER3 = _numbers(
    """
760 -2042 2111 -1684 3888 1858 11379 17560 39287 64382 113159 175108 273291 400186 581243 811568
1121004 1506550 2002767 2611612 3369180
"""
)
_WAMPLER4 = _numbers(
    """
75901 -204794 204863 -204436 253665 -200894 214131 -185192 221249 -138370 315911 -27644 455253
197434 783995 608816 1370781 1303798 2205519 2408860 3444321
"""
)
_WAMPLER5 = _numbers(
    """
7590001 -20479994 20480063 -20479636 25231365 -20476094 20489331 -20460392 18417449 -20413570
20591111 -20302844 18651453 -20077766 21059195 -19666384 26348481 -18971402 22480719 -17866340
10958421
"""
)
_WAMPLER_ERRORS = [2152.32624678170, 2363.55173469681, 779.343524331583, 101.475507550350]
_WAMPLER_ERRORS += [5.64566512170752, 0.112324854679312]


def _longley() -> dict[str, list[float]]:
    frame = sm.datasets.longley.load_pandas().data
    names = ("GNPDEFL", "GNP", "UNEMP", "ARMED", "POP", "YEAR")
    return {
        "y": list(frame["TOTEMP"].astype(float)),
        **{name: list(frame[name].astype(float)) for name in names},
    }


CERTIFIED = {
    "Norris": Certified(
        {"y": _NORRIS[::2], "x": _NORRIS[1::2]},
        [-0.262323073774029, 1.00211681802045],
        [0.232818234301152, 0.429796848199937e-03],
        0.884796396144373,
        digits=12,
    ),
    "Pontius": Certified(
        _polynomial(_PONTIUS_X, _PONTIUS_Y, 2),
        [0.673565789473684e-03, 0.732059160401003e-06, -0.316081871345029e-14],
        [0.107938612033077e-03, 0.157817399981659e-09, 0.486652849992036e-16],
        0.205177424076185e-03,
        digits=11,
    ),
    "NoInt1": Certified(
        {"y": [float(n) for n in range(130, 141)], "x": [float(n) for n in range(60, 71)]},
        [2.07438016528926],
        [0.165289256198347e-01],
        3.56753034006338,
        digits=13,
        intercept=False,
    ),
    "NoInt2": Certified(
        {"y": [3.0, 4.0, 4.0], "x": [4.0, 5.0, 6.0]},
        [0.727272727272727],
        [0.420827318078432e-01],
        0.369274472937998,
        digits=13,
        intercept=False,
    ),
    "Longley": Certified(
        _longley(),
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
        digits=9,
    ),
    "Filip": Certified(
        _polynomial(_FILIP_X, _FILIP_Y, 10),
        [
            -1467.48961422980,
            -2772.17959193342,
            -2316.37108160893,
            -1127.97394098372,
            -354.478233703349,
            -75.1242017393757,
            -10.8753180355343,
            -1.06221498588947,
            -0.670191154593408e-01,
            -0.246781078275479e-02,
            -0.402962525080404e-04,
        ],
        [
            298.084530995537,
            559.779865474950,
            466.477572127796,
            227.204274477751,
            71.6478660875927,
            15.2897178747400,
            2.23691159816033,
            0.221624321934227,
            0.142363763154724e-01,
            0.535617408889821e-03,
            0.896632837373868e-05,
        ],
        0.334801051324544e-02,
        digits=6,
    ),
    "Wampler3": Certified(
        _polynomial(_TO_TWENTY, _WAMPLER3, 5), [1.0] * 6, _WAMPLER_ERRORS, 2360.14502379268, 8
    ),
    "Wampler4": Certified(
        _polynomial(_TO_TWENTY, _WAMPLER4, 5),
        [1.0] * 6,
        [100 * each for each in _WAMPLER_ERRORS],
        236014.502379268,
        digits=7,
    ),
    "Wampler5": Certified(
        _polynomial(_TO_TWENTY, _WAMPLER5, 5),
        [1.0] * 6,
        [10_000 * each for each in _WAMPLER_ERRORS],
        23601450.2379268,
        digits=5,
    ),
}
"""Without Wampler1 and Wampler2, whose residuals are none: such a model tells every outcome."""


def _digits(found: Any, certified: Any) -> float:
    """Return how many digits are right: of several numbers, of the one with fewest."""
    off = np.abs(np.asarray(found) - certified) / np.abs(certified)
    return float(np.min(-np.log10(np.maximum(off, 1e-16))))


def _reached(found: dict[str, Any], certified: Certified) -> float:
    table = found["coefficients"].to_pandas()
    return min(
        _digits(table["coefficient"], certified.coefficients),
        _digits(table["std_error"], certified.errors),
        _digits(np.sqrt(found["fit"]["scale"]), certified.residual),
    )


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("name", CERTIFIED)
def test_linear_regression_has_the_certified_digits(
    name: str, monkeypatch: pytest.MonkeyPatch, *, streamed: bool
) -> None:
    certified = CERTIFIED[name]
    if streamed:  # in several blocks
        monkeypatch.setattr(_blocks, "_LEAST_ROWS", 4)
        monkeypatch.setattr(_blocks, "BATCH_ROWS", 4)
    parameters = clf.GLM(outcome="y", family="gaussian", intercept=certified.intercept)
    found: dict[str, Any] = operate(parameters, pa.table(certified.data), streamed=streamed)
    assert _reached(found, certified) >= certified.digits


@pytest.mark.parametrize("outcome", [_WAMPLER1, _WAMPLER2])
def test_regression_without_residuals_is_refused_clearly(outcome: list[float]) -> None:
    table = pa.table(_polynomial(_TO_TWENTY, outcome, 5))
    with pytest.raises(InvalidJob, match="perfectly separated by the predictors"):
        operate(clf.GLM(outcome="y", family="gaussian"), table)
