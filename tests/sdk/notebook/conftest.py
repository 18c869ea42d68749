from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
import pytest

import clf_sdk as clf
from clf_sdk.testing import Cluster

SCRIPT = "<script>alert(1)</script>"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two owners who have shared a table each; the clinic reviews what goes out."""
    folder = tmp_path_factory.mktemp("cluster")
    with clf.testing.cluster(["clinic", "insurer"], directory=folder) as made:
        numbers = range(60)
        health = pd.DataFrame({"id": numbers, "age": [n % 9 for n in numbers], SCRIPT: 1.0})
        visits = pd.DataFrame({"id": numbers, "visits": [2.0 * (n % 9) + n % 3 for n in numbers]})
        review = made.policy(["glm"], columns=["id", "age"], runs=3, release="review")
        clf.share(health, name="health", policy=review, to=made.owners["clinic"])
        free = made.policy(["glm"], runs=3, approval="automatic")
        clf.share(visits, name="visits", policy=free, to=made.owners["insurer"])
        yield made


@pytest.fixture
def analyst(cluster: Cluster) -> list[clf.Connection]:
    return list(cluster.analyst.values())
