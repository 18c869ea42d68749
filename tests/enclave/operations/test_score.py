"""``score``: predictions for the owner of the rows, and for nobody else."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf

import clf_sdk as clf
from clf_enclave._operations import Output
from clf_sdk.align import union
from clf_sdk.errors import InvalidJob, PolicyRefused
from clf_sdk.operations import output_recipients
from clf_sdk.protocol import JobDocument
from clf_testing import GLM, demand, job_input, joined, make_job, operate, the_analyst

RANDOM = np.random.default_rng(4)
N = 300
X, Z = RANDOM.normal(size=N), RANDOM.normal(size=N)
Y = (X - Z + RANDOM.logistic(size=N) > 0).astype(float)
IDS = np.arange(N)
BANK = pa.table({"id": IDS, "x": X, "y": Y})
CLINIC = pa.table({"id": IDS, "z": Z, "own": IDS * 2})
MINE = the_analyst().public.id
OTHER = clf.Identity.create()


def _model(parameters: Any) -> dict[str, Any]:
    made = operate(parameters, {"bank": BANK, "clinic": CLINIC}, align=joined(["bank", "clinic"]))
    assert isinstance(made["model"], dict)
    return made["model"]


def _as_input(document: Any) -> pa.Table:
    known = {"run": "ab" * 16, "output": "model", "version": "cd" * 32}
    return pa.Table.from_pylist([{"document": json.dumps(document), **known}])


def _score(document: Any, *, rules: Any = (), **changes: Any) -> dict[str, Output]:
    asked = {"model": "model", "predictions": {"clinic": MINE}} | changes
    return operate(
        clf.Score(**asked),
        {"bank": BANK, "clinic": CLINIC, "model": _as_input(document)},
        align=joined(["bank", "clinic"]),
        rules=rules,
    )


def _predicted(outputs: dict[str, Output], name: str = "predictions_clinic") -> pa.Table:
    found = outputs[name]
    assert isinstance(found, pa.Table)
    return found


LINEAR: dict[str, Any] = {
    "model": "linear",
    "link": "logit",
    "terms": [
        {"term": "const", "factors": [], "coefficient": 0.5},
        {"term": "x", "factors": [{"column": "x", "category": None}], "coefficient": 2.0},
    ],
}


def test_logistic_regression_predicts_as_it_was_fitted() -> None:
    document = _model(clf.LogisticRegression(outcome="y", predictors=["x", "z"], folds=None))
    found = _score(document)
    table = _predicted(found).sort_by("id")
    by = {term["term"]: term["coefficient"] for term in document["terms"]}
    expected = 1 / (1 + np.exp(-(by["const"] + by["x"] * X + by["z"] * Z)))
    assert table.column_names == ["id", "prediction"]
    np.testing.assert_allclose(table["prediction"].to_numpy(), expected, rtol=1e-12)
    told = found["score"]
    assert isinstance(told, dict)
    assert told["inputs"] == {"clinic": {"rows": N, "rows_without_prediction": 0}}
    assert told["run"] == "ab" * 16


def test_trees_and_centres_predict_as_they_were_fitted() -> None:
    trees = _model(clf.GradientBoosting(outcome="y", objective="binary", predictors=["x", "z"]))
    found = _predicted(_score(trees)).sort_by("id")["prediction"].to_numpy()
    assert ((found > 0.5) == (Y > 0)).mean() > 0.7
    centres = _model(clf.KMeans(clusters=2, columns=["x", "z"]))
    clusters = _predicted(_score(centres)).sort_by("id")["prediction"].to_numpy()
    nearest = [
        np.argmin(
            [
                ((np.array([x, z]) - each) ** 2 / np.array(centres["scale"]) ** 2).sum()
                for each in np.array(centres["centres"])
            ]
        )
        + 1
        for x, z in zip(X, Z, strict=True)
    ]
    assert clusters.tolist() == nearest


ROWS = 400
PEOPLE = pd.DataFrame(
    {
        "id": np.arange(ROWS),
        "a": RANDOM.normal(size=ROWS),
        "region": RANDOM.choice(["north", "south", "west"], ROWS),
        "log_time": RANDOM.uniform(-0.5, 0.5, ROWS),
    }
)
PEOPLE["cost"] = RANDOM.gamma(3.0, np.exp(0.5 + 0.2 * PEOPLE["a"]))
PEOPLE["count"] = RANDOM.negative_binomial(2.0, 0.4, ROWS).astype(float)
PEOPLE["ill"] = (RANDOM.random(ROWS) < 1 / (1 + np.exp(-PEOPLE["a"]))).astype(float)


def _fitted(**parameters: Any) -> Any:
    made = operate(clf.GLM(model=True, **parameters), pa.Table.from_pandas(PEOPLE))
    return made["model"]


def _applied(document: Any, rows: pd.DataFrame) -> Any:
    outputs = operate(
        clf.Score(model="model", predictions={"new": MINE}, identify=["id"]),
        {"new": pa.Table.from_pandas(rows), "model": _as_input(json.loads(json.dumps(document)))},
    )
    return _predicted(outputs, "predictions_new").to_pandas()["prediction"]


@pytest.mark.filterwarnings("ignore:The Inverse")  # statsmodels' doubt about the case itself
@pytest.mark.filterwarnings("ignore:The Identity")
@pytest.mark.filterwarnings("ignore:The Sqrt")
@pytest.mark.parametrize(
    ("outcome", "family", "link"),
    [
        ("cost", "gaussian", "identity"),
        ("cost", "gaussian", "log"),
        ("ill", "binomial", "logit"),
        ("ill", "binomial", "probit"),
        ("ill", "binomial", "cloglog"),
        ("count", "poisson", "log"),
        ("count", "poisson", "sqrt"),
        ("cost", "gamma", "inverse"),
        ("count", "negative_binomial", "log"),
    ],
)
def test_glm_predicts_means_of_new_rows(outcome: str, family: Any, link: Any) -> None:
    document = _fitted(formula=f"{outcome} ~ a * region", family=family, link=link)
    new = PEOPLE.sample(60, random_state=3).reset_index(drop=True)
    new["a"] += 0.1
    links = sm.families.links
    theirs: Any = {
        "gaussian": sm.families.Gaussian,
        "binomial": sm.families.Binomial,
        "poisson": sm.families.Poisson,
        "gamma": sm.families.Gamma,
        "negative_binomial": sm.families.NegativeBinomial,
    }[family]
    named = {
        "identity": links.Identity,
        "log": links.Log,
        "logit": links.Logit,
        "probit": links.Probit,
        "cloglog": links.CLogLog,
        "sqrt": links.Sqrt,
        "inverse": links.InversePower,
    }
    formula = f"{outcome} ~ a * region"
    if family == "negative_binomial":
        model = smf.negativebinomial(formula, PEOPLE)
        near = model.fit(disp=False, maxiter=500)
        fitted = model.fit(start_params=near.params, method="newton", disp=False, tol=1e-12)
    else:
        fitted = smf.glm(formula, PEOPLE, family=theirs(named[link]())).fit(tol=1e-13)
    np.testing.assert_allclose(_applied(document, new), fitted.predict(new), rtol=1e-7)


def test_glm_predicts_with_the_offset_of_new_rows() -> None:
    document = _fitted(outcome="count", predictors=["a"], family="poisson", offset="log_time")
    new = PEOPLE.assign(log_time=PEOPLE["log_time"] + 1.0)
    ratio = _applied(document, new) / _applied(document, PEOPLE)
    np.testing.assert_allclose(ratio, np.e, rtol=1e-12)
    gaps = PEOPLE.assign(log_time=PEOPLE["log_time"].where(PEOPLE.index > 4))
    assert _applied(document, gaps).isna().tolist() == [True] * 5 + [False] * (ROWS - 5)
    with pytest.raises(InvalidJob, match="'log_time'"):
        _applied(document, PEOPLE.drop(columns="log_time"))


def test_categories_that_a_glm_does_not_know_are_refused_without_their_names() -> None:
    document = _fitted(formula="cost ~ a + region", family="gaussian")
    assert document["levels"] == {"region": ["north", "south", "west"]}
    unknown = PEOPLE.assign(region=PEOPLE["region"].where(PEOPLE.index != 7, "s3cr3t"))
    with pytest.raises(InvalidJob, match="'region' has a category") as caught:
        _applied(document, unknown)
    assert "s3cr3t" not in str(caught.value)
    missing = PEOPLE.assign(region=PEOPLE["region"].where(PEOPLE.index != 7))
    assert _applied(document, missing).isna().sum() == 1
    with pytest.raises(InvalidJob, match="takes categories"):
        _applied(document, PEOPLE.assign(region=1.0))


def test_glm_gives_its_model_only_where_asked() -> None:
    made = operate(
        clf.GLM(outcome="cost", predictors=["a"], family="gaussian"), pa.Table.from_pandas(PEOPLE)
    )
    assert set(made) == {"coefficients", "fit"}


def test_each_owner_gets_its_own_rows() -> None:
    north, south = BANK.slice(0, 100), BANK.slice(100)
    outputs = operate(
        clf.Score(model="model", predictions={"north": MINE, "south": OTHER}, identify=["id"]),
        {"north": north, "south": south, "model": _as_input(LINEAR)},
        align=union("north", "south"),
    )
    assert _predicted(outputs, "predictions_north")["id"].to_pylist() == list(range(100))
    assert _predicted(outputs, "predictions_south")["id"].to_pylist() == list(range(100, N))


def test_predictions_go_to_one_person_and_the_rest_to_all() -> None:
    parameters = clf.Score(model="model", predictions={"t": OTHER})
    job = make_job(
        [job_input("0a" * 32, "t"), job_input("0b" * 32, "model")],
        operation="score",
        parameters=parameters.to_json(),
        align={"kind": "input", "input": "t"},
        recipients=[the_analyst().public, OTHER.public],
    )

    def to(output: str) -> list[str]:
        return [who.digest for who in output_recipients(job, parameters, output)]

    assert to("predictions_t") == [OTHER.public.id]
    assert to("score") == [MINE, OTHER.public.id]
    stranger = clf.Score(model="model", predictions={"t": "ff" * 32})
    with pytest.raises(InvalidJob, match="no recipient"):
        output_recipients(job, stranger, "predictions_t")


def test_columns_of_other_owners_do_not_travel_along() -> None:
    assert _predicted(_score(LINEAR, identify=["own"])).column_names == ["own", "prediction"]
    for column in (["x"], ["id", "x"], ["prediction"], ["id", "id"]):
        with pytest.raises(InvalidJob):
            _score(LINEAR, identify=column)


def test_missing_values_have_no_prediction() -> None:
    gaps = BANK.set_column(1, "x", pa.array([None, *X[1:]]))
    outputs = operate(
        clf.Score(model="model", predictions={"bank": MINE}, identify=["id"]),
        {"bank": gaps, "model": _as_input(LINEAR)},
        rules=[demand(smallest_group=3)],
    )
    table = _predicted(outputs, "predictions_bank")
    assert table["prediction"].null_count == 1
    assert table["prediction"][0].as_py() is None
    told = outputs["score"]
    assert isinstance(told, dict)
    assert told["inputs"]["bank"] == {"rows": None, "rows_without_prediction": None}


def test_too_few_people_are_refused() -> None:
    with pytest.raises(PolicyRefused):
        _score(LINEAR, rules=[demand(smallest_group=N + 1)])


def _tree_text(**changes: str) -> str:
    text: str = _TREES["text"]
    for name, value in changes.items():
        first = text.index(f"\n{name}=", text.index("Tree=0")) + 1
        text = f"{text[:first]}{name}={value}{text[text.index(chr(10), first) :]}"
    return text


_TREES = _model(
    clf.GradientBoosting(outcome="y", objective="binary", predictors=["x"], trees=1, leaves=3)
)


@pytest.mark.parametrize(
    "changes",
    [
        {"split_feature": "0 7"},
        {"split_feature": "0 -1"},
        {"left_child": "0 -1"},
        {"left_child": "1 -9"},
        {"right_child": "99 -2"},
        {"decision_type": "1 2"},
        {"num_cat": "1"},
        {"num_leaves": "30"},
        {"num_leaves": "-3"},
        {"leaf_value": "1"},
        {"threshold": "1"},
        {"is_linear": "1"},
        {"left_child": "x y"},
    ],
)
def test_damaged_trees_are_refused_before_a_library_reads_them(changes: dict[str, str]) -> None:
    with pytest.raises(InvalidJob):
        _score(_TREES | {"text": _tree_text(**changes)})


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        "x",
        {"model": "pickle", "data": "gASV"},
        {"model": "linear"},
        {"model": "linear", "link": "eval", "terms": []},
        LINEAR | {"terms": [{"term": "x", "factors": 1, "coefficient": 1}]},
        LINEAR | {"terms": [LINEAR["terms"][1] | {"coefficient": "s3cr3t"}]},
        LINEAR | {"levels": ["x"]},
        LINEAR | {"levels": {"x": 1}},
        LINEAR | {"levels": {"x": [1, 2]}},
        LINEAR | {"levels": {"x": ["s3cr3t"]}},
        LINEAR | {"levels": {"nothing": ["s3cr3t"]}},
        LINEAR | {"offset": "nothing"},
        LINEAR | {"offset": 1},
        LINEAR | {"terms": [{"factors": [{"column": "y2", "category": None}], "coefficient": 1}]},
        {"model": "centres", "columns": ["x"], "scale": [1], "centres": [[1, 2]]},
        {"model": "trees", "columns": ["x"], "text": "tree\nmax_feature_idx=0\n"},
    ],
)
def test_what_is_no_model_is_refused(document: Any) -> None:
    with pytest.raises(InvalidJob) as caught:
        _score(document)
    assert "s3cr3t" not in str(caught.value)


def test_job_takes_the_model_beside_what_is_aligned() -> None:
    inputs = [job_input("0a" * 32, "t"), job_input("0b" * 32, "model")]
    align = {"kind": "input", "input": "t"}
    asked = {"model": "model", "predictions": {"t": MINE}, "identify": None}
    made = make_job(inputs, operation="score", parameters=asked, align=align).to_json()
    for changes in (
        {"operation": {"name": "glm", "parameters": GLM}},
        {"operation": {"name": "score", "parameters": asked | {"model": "gone"}}},
    ):
        with pytest.raises(ValueError, match=r"exactly once|one of the inputs"):
            JobDocument(**(made | changes))
