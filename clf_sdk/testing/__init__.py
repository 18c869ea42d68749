"""Simulated owners on this machine, for users' own tests, for notebooks and for the demonstration.

INSECURE: the enclaves are ordinary processes, and their quotes are made in software.

>>> import clf_sdk as clf
>>> with clf.testing.cluster(owners=3) as cluster:  # doctest: +SKIP
...     clf.share(frame, name="t", policy=cluster.policy(["glm"]), to=cluster.owners["owner-1"])
"""

from clf_sdk.testing._cluster import Cluster, cluster
from clf_sdk.testing._example import example_cluster

__all__ = ["Cluster", "cluster", "example_cluster"]
