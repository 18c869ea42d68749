"""``kmeans``: clusters around means.

Reveals: sizes and centres of clusters that owners allow, and how tight they are. Source: Lloyd,
*Least squares quantization in PCM* (1982); Arthur and Vassilvitskii, *k-means++* (2007); computed
by scikit-learn.
"""

from __future__ import annotations

import warnings

import numpy as np
import pyarrow as pa
from sklearn.cluster import KMeans as Model
from sklearn.exceptions import ConvergenceWarning

from clf_enclave._operations._context import Context
from clf_enclave._operations._numeric import Numeric
from clf_enclave._operations._outputs import Output
from clf_sdk.errors import InvalidJob
from clf_sdk.operations import KMeans


def run(context: Context[KMeans]) -> dict[str, Output]:
    """Cluster the rows; the training rows, where the job splits.

    Clusters are numbered from the largest on, equal ones by their centres.

    Returns
    -------
    dict
        ``clusters``: one row a cluster, with ``cluster``, ``rows`` and ``inertia``, the sum of
        squared distances to the centre; ``centres``: ``cluster``, ``column``, ``mean``;
        ``fit``: a document with ``rows``, ``rows_dropped``, ``inertia``, ``iterations``,
        ``standardised``; and ``model``, the centres as JSON.

    Raises
    ------
    InvalidJob
        The columns hold no numbers, or there are too few different rows.
    PolicyRefused
        Some cluster has fewer people than the smallest group.
    """
    chosen, disclosure = context.parameters, context.disclosure
    data = Numeric.of(
        context.data.training, chosen.columns, missing=chosen.missing, disclosure=disclosure
    )
    if chosen.clusters > len(data.values):
        raise InvalidJob("kmeans: there are more clusters than complete rows")
    disclosure.check_parameters(chosen.clusters, data.everybody)
    values = data.standardised(scale=chosen.standardise)
    model = Model(
        chosen.clusters,
        n_init=chosen.starts,
        max_iter=chosen.max_iterations,
        tol=0,
        random_state=chosen.seed,
        algorithm="lloyd",
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            model.fit(values)
    except ConvergenceWarning:
        raise InvalidJob(
            "kmeans: there are fewer different rows than clusters, or too few iterations"
        ) from None
    count = chosen.clusters
    centres = np.array([data.values[model.labels_ == each].mean(axis=0) for each in range(count)])
    sizes = np.bincount(model.labels_, minlength=count)
    order = sorted(range(count), key=lambda each: (-sizes[each], *centres[each]))
    members = [model.labels_ == each for each in order]
    if not disclosure.may_show([data.people.fewest(each) for each in members]):
        disclosure.refuse_group("a cluster has too few of them; ask for fewer clusters")
    centres = centres[order]
    inertia = [float(((values[each] - values[each].mean(axis=0)) ** 2).sum()) for each in members]
    names, numbers = data.columns, np.arange(1, count + 1)
    scale = data.deviation if chosen.standardise else np.ones(len(names))
    return {
        "clusters": pa.table({"cluster": numbers, "rows": sizes[order], "inertia": inertia}),
        "centres": pa.table(
            {
                "cluster": numbers.repeat(len(names)),
                "column": pa.array(names * count, pa.large_string()),
                "mean": centres.ravel(),
            }
        ),
        "fit": {
            "rows": len(values),
            "rows_dropped": data.dropped,
            "inertia": float(model.inertia_),
            "iterations": int(model.n_iter_),
            "standardised": chosen.standardise,
        },
        "model": {
            "model": "centres",
            "columns": names,
            "scale": scale.tolist(),
            "centres": centres.tolist(),
        },
    }
