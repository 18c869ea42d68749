from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.cluster import KMeans
from sklearn.preprocessing import StandardScaler

import clf_sdk as clf
from clf_sdk.errors import InvalidJob, PolicyRefused
from clf_testing import demand, operate


def _values() -> Any:
    rng = np.random.default_rng(4)
    centres = np.array([[0, 0, 0], [8, 8, 0], [0, 9, 9]])
    return np.vstack(
        [
            rng.normal(centre, 1, (size, 3))
            for centre, size in zip(centres, (90, 60, 40), strict=True)
        ]
    )


def _table(values: Any) -> pa.Table:
    return pa.table({name: values[:, n] for n, name in enumerate("xyz")})


def test_clusters_equal_those_of_scikit_learn() -> None:
    values = _values()
    found = operate(clf.KMeans(clusters=3), _table(values))
    scaled = StandardScaler().fit_transform(values)
    theirs = KMeans(3, n_init=10, random_state=0).fit(scaled)
    sizes = np.bincount(theirs.labels_)
    order = np.argsort(-sizes)
    assert found["clusters"]["rows"].to_pylist() == sizes[order].tolist()
    centres = [values[theirs.labels_ == each].mean(axis=0) for each in order]
    np.testing.assert_allclose(
        found["centres"]["mean"].to_numpy(), np.concatenate(centres), rtol=1e-10
    )
    # Theirs is of deviations by n, ours by n - 1.
    assert found["fit"]["inertia"] == pytest.approx(theirs.inertia_ * 189 / 190, rel=1e-10)
    assert sum(found["clusters"]["inertia"].to_pylist()) == pytest.approx(found["fit"]["inertia"])


def test_small_cluster_is_refused() -> None:
    values = np.vstack([_values(), [[99.0, 99.0, 99.0], [99.0, 98.0, 99.0]]])
    parameters = clf.KMeans(clusters=4)
    assert min(operate(parameters, _table(values))["clusters"]["rows"].to_pylist()) == 2
    with pytest.raises(PolicyRefused, match="cluster"):
        operate(parameters, _table(values), rules=[demand(smallest_group=3)])


@pytest.mark.parametrize(
    ("columns", "parameters"),
    [
        ({"x": [1.0] * 50}, {}),
        ({"x": [1.0, 2.0] * 25}, {"clusters": 3}),
        ({"x": ["text"] * 50}, {}),
        ({"x": [1.0, 2.0]}, {"clusters": 3}),
        ({"x": [1.0, 2.0]}, {"columns": ["x", "x"]}),
    ],
)
def test_what_can_not_be_clustered_is_refused(
    columns: dict[str, Any], parameters: dict[str, Any]
) -> None:
    with pytest.raises(InvalidJob):
        operate(clf.KMeans(**({"clusters": 2} | parameters)), pa.table(columns))
