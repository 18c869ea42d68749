from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import load_diabetes
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

import clf_sdk as clf
from clf_sdk.errors import InvalidJob, PolicyRefused
from clf_testing import demand, operate

DATA = load_diabetes(scaled=False)
TABLE = pa.table({name: DATA.data[:, n] for n, name in enumerate(DATA.feature_names)})


@pytest.mark.parametrize("standardise", [True, False])
def test_components_equal_those_of_scikit_learn(*, standardise: bool) -> None:
    found: dict[str, Any] = operate(clf.PCA(standardise=standardise, components=4), TABLE)
    values = DATA.data
    if standardise:
        rows = len(values)
        values = StandardScaler().fit_transform(values) * np.sqrt((rows - 1) / rows)
    theirs = PCA(4).fit(values)
    components = found["components"].to_pandas()
    np.testing.assert_allclose(components["variance"], theirs.explained_variance_, rtol=1e-9)
    np.testing.assert_allclose(components["share"], theirs.explained_variance_ratio_, rtol=1e-9)
    loadings = found["loadings"]["loading"].to_numpy().reshape(4, -1)
    np.testing.assert_allclose(np.abs(loadings), np.abs(theirs.components_), rtol=1e-6, atol=1e-8)
    assert (loadings[np.arange(4), np.abs(loadings).argmax(axis=1)] > 0).all()
    np.testing.assert_allclose(found["columns"]["mean"].to_numpy(), DATA.data.mean(axis=0))


def test_too_many_columns_for_the_people_are_refused() -> None:
    few = TABLE.slice(0, 28)
    with pytest.raises(PolicyRefused):
        operate(clf.PCA(), few, rules=[demand(smallest_group=2)])


def test_more_components_than_columns_are_refused() -> None:
    with pytest.raises(InvalidJob, match="more components"):
        operate(clf.PCA(components=11), TABLE)
