"""A design is collinear exactly where its decomposition says so."""

from __future__ import annotations

import numpy as np
import pytest

from clf_enclave._operations._terms import is_collinear

RANDOM = np.random.default_rng(5)
COLUMNS = RANDOM.normal(size=(500, 4))
YEARS = np.vander(np.linspace(-1, 1, 500), 12)  # condition about 2e4


@pytest.mark.parametrize("noise", [0.0, 1e-15, 1e-12, 1e-9, 1e-7, 1e-5, 1e-2])
@pytest.mark.parametrize("base", [COLUMNS, YEARS])
def test_collinear_is_what_loses_rank(
    base: np.ndarray[tuple[int, int], np.dtype[np.float64]], noise: float
) -> None:
    nearly = base[:, 0] - base[:, 1] + noise * RANDOM.normal(size=len(base))
    made = np.column_stack([base, nearly])
    made /= np.sqrt((made**2).mean(axis=0))
    assert is_collinear(made) == (np.linalg.matrix_rank(made) < made.shape[1])
    assert not is_collinear(base)


def test_more_columns_than_rows_are_collinear() -> None:
    assert is_collinear(RANDOM.normal(size=(3, 5)))
    assert is_collinear(np.zeros((5, 2)))
