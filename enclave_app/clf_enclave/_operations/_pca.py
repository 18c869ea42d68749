"""``pca``: principal components.

Reveals: loadings, explained variances, means and deviations of columns; no coordinates of people.
Source: Jolliffe, *Principal Component Analysis* (2002); computed by numpy from the covariances.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from clf_enclave._operations._context import Context
from clf_enclave._operations._numeric import Numeric
from clf_enclave._operations._outputs import Output
from clf_sdk.errors import InvalidJob
from clf_sdk.operations import PCA


def run(context: Context[PCA]) -> dict[str, Output]:
    """Find principal components; of the training rows, where the job splits.

    Of both directions of a component the one is taken whose largest loading is positive.

    Returns
    -------
    dict
        ``components``: one row a component, with ``component``, ``variance``, ``share`` and
        ``share_so_far``; ``loadings``: ``component``, ``column``, ``loading``; ``columns``:
        ``column``, ``mean``, ``std``; ``fit``: a document with ``rows``, ``rows_dropped``,
        ``standardised``.

    Raises
    ------
    InvalidJob
        The columns hold no numbers, or are fewer than components.
    PolicyRefused
        Fewer people than the smallest group have complete rows, or there are too many columns
        for them.
    """
    chosen, disclosure = context.parameters, context.disclosure
    data = Numeric.of(
        context.data.training, chosen.columns, missing=chosen.missing, disclosure=disclosure
    )
    names = data.columns
    count = len(names) if chosen.components is None else chosen.components
    if count > len(names):
        raise InvalidJob("pca: there are more components than columns")
    disclosure.check_parameters(len(names), data.everybody)
    values = data.standardised(scale=chosen.standardise)
    covariance = values.T @ values / (len(values) - 1)
    variances, vectors = np.linalg.eigh(covariance)
    variances, vectors = variances[::-1][:count].clip(min=0), vectors[:, ::-1][:, :count]
    largest = vectors[np.abs(vectors).argmax(axis=0), np.arange(count)]
    vectors = vectors * np.where(largest < 0, -1.0, 1.0)
    share = variances / np.trace(covariance)
    numbers = np.arange(1, count + 1)
    return {
        "components": pa.table(
            {
                "component": numbers,
                "variance": variances,
                "share": share,
                "share_so_far": share.cumsum(),
            }
        ),
        "loadings": pa.table(
            {
                "component": numbers.repeat(len(names)),
                "column": pa.array(names * count, pa.large_string()),
                "loading": vectors.T.ravel(),
            }
        ),
        "columns": pa.table(
            {
                "column": pa.array(names, pa.large_string()),
                "mean": data.mean,
                "std": data.deviation,
            }
        ),
        "fit": {
            "rows": len(values),
            "rows_dropped": data.dropped,
            "standardised": chosen.standardise,
        },
    }
