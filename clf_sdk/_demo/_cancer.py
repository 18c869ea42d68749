"""Tumours told apart: two labs, each with patients of its own, fit one logistic regression.

Data: Wisconsin Diagnostic Breast Cancer (Wolberg, Street, Mangasarian, 1995), as scikit-learn
ships it.
"""

from __future__ import annotations

from collections.abc import Mapping

import clf_sdk as clf
from clf_sdk._demo._parts import (
    BAR,
    Scenario,
    bar,
    coefficients_of,
    load,
    rows_of,
    table_of_coefficients,
)
from clf_sdk._result import Output

_NORTH = 300
_PREDICTORS = ("mean_radius", "mean_texture", "mean_smoothness", "mean_concavity", "mean_symmetry")


def cancer() -> Scenario:
    """Return the scenario."""
    found = load("sklearn.datasets").load_breast_cancer(as_frame=True)
    frame = found.data.rename(columns=lambda name: name.replace(" ", "_"))[list(_PREDICTORS)]
    frame = frame.assign(malignant=1 - found.target)

    def pooled() -> dict[str, float]:
        linear, preprocessing = load("sklearn.linear_model"), load("sklearn.preprocessing")
        scaler = preprocessing.StandardScaler().fit(frame[list(_PREDICTORS)])
        model = linear.LogisticRegression(C=1.0, solver="newton-cholesky", tol=1e-12)
        model.fit(scaler.transform(frame[list(_PREDICTORS)]), frame["malignant"])
        values = model.coef_[0] / scaler.scale_
        constant = float(model.intercept_[0] - values @ scaler.mean_)
        return {"const": constant, **dict(zip(_PREDICTORS, map(float, values), strict=True))}

    return Scenario(
        name="tumours",
        title="Tumours: one logistic regression over the patients of two labs",
        purpose="Which measurements of a cell tell a malignant tumour?",
        tables={
            "north_lab": ("cells", frame[:_NORTH]),
            "south_lab": ("cells", frame[_NORTH:]),
        },
        align=clf.align.union("north_lab", "south_lab"),
        operation=clf.LogisticRegression(outcome="malignant", predictors=_PREDICTORS),
        reviewer="south_lab",
        joint=coefficients_of,
        reference=pooled,
        page=_page,
    )


def _page(outputs: Mapping[str, Output], reference: Mapping[str, float]) -> list[str]:
    fit = rows_of(outputs, "fit")[0]
    lines = table_of_coefficients(outputs, reference)
    lines += [
        "",
        "  In patients that the model had not seen, by the probability from which on a tumour is",
        "  taken for malignant (no step holds fewer than ten patients of either kind):",
        f"  {'from':>6}  {'malignant that are found':<{BAR}}  benign mistaken",
    ]
    for row in rows_of(outputs, "curve"):
        found, mistaken = row["true_positive_rate"], row["false_positive_rate"]
        lines.append(f"  {row['threshold']:>6.3f}  {bar(found)} {found:>4.0%} {mistaken:>6.0%}")
    return [*lines, "", f"  area under the curve {fit['roc_auc']:.4f}"]
