"""Read models that operations gave out, and predict by them.

A model comes from an input, so from an owner: it is read as data of a stranger. What it says is
checked before a library sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import lightgbm as lgb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import ndtr

from clf_enclave._operations._people import Numbers
from clf_enclave._operations._terms import design, is_text, matrix, numbers, read_terms
from clf_sdk.errors import InvalidJob

_NUMERICAL = range(16)
"""``decision_type`` of LightGBM: bit 0 is for categories, of which our models have none."""


@dataclass(frozen=True)
class Model:
    """A model.

    Attributes
    ----------
    kind
        What it says that it is.
    columns
        Columns that it needs.
    predict
        Returns a prediction for each row of a table; NaN where a value is missing that it needs.
    """

    kind: str
    columns: list[str]
    predict: Callable[[pa.Table], Numbers]


def _bad(why: str) -> InvalidJob:
    return InvalidJob(f"score: the model can't be read: {why}")


def _logistic(values: Numbers) -> Numbers:
    return 1 / (1 + np.exp(-values))


_MEANS: Mapping[str, Callable[[Numbers], Numbers]] = {
    "identity": lambda values: values,
    "log": np.exp,
    "inverse": lambda values: 1 / values,
    "logit": _logistic,
    "probit": ndtr,
    "cloglog": lambda values: -np.expm1(-np.exp(values)),
    "sqrt": np.square,
}


def _check_categories(table: pa.Table, name: str, known: pa.Array) -> None:
    """Check that the model was fitted to all categories that a column has; null is none."""
    values = table[name]
    if not is_text(values.type):
        raise InvalidJob(f"the model takes categories of column {name!r}, no numbers")
    found = pc.unique(values.cast(pa.large_string())).drop_null()
    if not pc.all(pc.is_in(found, value_set=known), min_count=0).as_py():
        raise InvalidJob(
            f"score: column {name!r} has a category that the model was not fitted to",
            hint="leave such rows out, or merge categories, in the job's preparation",
        )


def _linear(document: Mapping[str, Any]) -> Model:
    mean = _MEANS.get(document["link"])
    if mean is None:
        raise _bad("its link is unknown")
    terms = read_terms(document["terms"])
    coefficients = np.array([float(term["coefficient"]) for term in document["terms"]])
    offset = document.get("offset")
    known = {
        str(name): pa.array(list(levels), pa.large_string())
        for name, levels in document.get("levels", {}).items()
    }
    columns = {factor.column for term in terms for factor in term.factors} | set(known)
    if offset is not None:
        columns.add(str(offset))

    def predict(table: pa.Table) -> Numbers:
        for name, levels in known.items():
            _check_categories(table, name, levels)
        with np.errstate(all="ignore"):
            linear = design(table, terms) @ coefficients
            if offset is not None:
                linear += numbers(table, str(offset))
            found: Numbers = mean(linear)
        return np.where(np.isfinite(found), found, np.nan)

    return Model("linear", sorted(columns), predict)


def _centres(document: Mapping[str, Any]) -> Model:
    columns = [str(name) for name in document["columns"]]
    scale = np.array(document["scale"], np.float64)
    centres = np.array(document["centres"], np.float64)
    if centres.ndim != 2 or centres.shape[1] != len(columns) or scale.shape != (len(columns),):  # noqa: PLR2004 - a table
        raise _bad("its centres have other columns")

    def predict(table: pa.Table) -> Numbers:
        values = matrix(table, columns)
        distances = np.stack([(((values - each) / scale) ** 2).sum(axis=1) for each in centres])
        found = distances.argmin(axis=0) + 1.0
        return np.where(np.isfinite(distances[0]), found, np.nan)

    return Model("centres", columns, predict)


def _trees(document: Mapping[str, Any]) -> Model:
    columns, text = [str(name) for name in document["columns"]], document["text"]
    _check_trees(str(text), len(columns))
    try:
        booster = lgb.Booster(model_str=str(text))
    except lgb.basic.LightGBMError:
        raise _bad("its trees are damaged") from None
    if booster.num_feature() != len(columns) or booster.num_model_per_iteration() != 1:
        raise _bad("its trees are of other columns")

    def predict(table: pa.Table) -> Numbers:
        found: Numbers = np.asarray(
            booster.predict(matrix(table, columns), num_threads=1), dtype=np.float64
        )
        return found

    return Model("trees", columns, predict)


def _check_trees(text: str, features: int) -> None:
    """Check that trees lead from each node further down, to leaves and features that exist.

    LightGBM follows the numbers of a model's text without a look at them.
    """
    header, *trees = text.split("\nTree=")
    said = dict(line.split("=", 1) for line in header.splitlines() if "=" in line)
    if said.get("max_feature_idx") != str(features - 1) or not trees:
        raise _bad("its trees are of other columns")
    for tree in trees:
        lines = tree.split("\nend of trees", 1)[0].splitlines()
        _check_tree(dict(line.split("=", 1) for line in lines if "=" in line), features)


def _check_tree(said: Mapping[str, str], features: int) -> None:
    leaves = int(said["num_leaves"])
    if leaves < 1 or said["num_cat"] != "0" or said.get("is_linear", "0") != "0":
        raise _bad("its trees are of another kind")
    if leaves == 1:
        return
    whole = {
        name: [int(each) for each in said[name].split()]
        for name in ("split_feature", "decision_type", "left_child", "right_child")
    }
    sizes = [len(each) for each in whole.values()] + [len(said["threshold"].split())]
    if set(sizes) != {leaves - 1} or len(said["leaf_value"].split()) != leaves:
        raise _bad("a tree lacks a part")
    if not all(0 <= each < features for each in whole["split_feature"]) or not all(
        each in _NUMERICAL and each % 2 == 0 for each in whole["decision_type"]
    ):
        raise _bad("a tree splits by what is not there")
    for side in ("left_child", "right_child"):
        for node, child in enumerate(whole[side]):
            if not (node < child < leaves - 1 or -leaves <= child < 0):
                raise _bad("a tree does not lead down")


_KINDS: Mapping[str, Callable[[Mapping[str, Any]], Model]] = {
    "linear": _linear,
    "centres": _centres,
    "trees": _trees,
}


def read_model(document: Mapping[str, Any]) -> Model:
    """Return the model of a document.

    Raises
    ------
    InvalidJob
        It is none, or of a kind that this version does not know.
    """
    kind = document.get("model")
    if kind not in _KINDS:
        raise InvalidJob(
            "score: the model is of an unknown kind", hint=f"known are: {', '.join(sorted(_KINDS))}"
        )
    try:
        return _KINDS[str(kind)](document)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise _bad("a part is missing, or no number") from None
