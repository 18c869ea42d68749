"""What analysts write about alignment and preparation, and what owners read of it."""

from __future__ import annotations

from typing import Any

import pytest

import clf_sdk as clf
from clf_sdk._align_words import align_in_words, prepare_in_words
from clf_sdk.errors import InvalidExpression, InvalidJob
from clf_sdk.protocol import JoinNode, inputs_of


def test_tree_is_told_from_the_innermost_on() -> None:
    tree = clf.align.join(
        clf.align.union("north", "south", source="hospital"),
        clf.align.member(
            "insurer",
            columns="insured",
            duplicates=clf.align.aggregate({"cost": "sum"}),
            prefix="i_",
        ),
        on=clf.align.key("id", read_as="text", trim=True, fold_case=True),
    )
    assert inputs_of(tree) == ["north", "south", "insurer"]
    assert align_in_words(tree) == [
        "rows of north, south one below the other; column hospital says whose",
        (
            "north + south, insurer on id, read as text, without blanks around it, in upper or "
            "lower case alike; rows that every table has"
        ),
        "insurer: its keys are insured",
        "insurer: rows with one key become one: sum of cost",
        'insurer: "i_" is put before its columns',
    ]


def test_left_join_has_its_base_first() -> None:
    tree = clf.align.join("a", "b", "c", on=["k", "d"], how="left", base="b")
    assert inputs_of(tree) == ["b", "a", "c"]
    assert align_in_words(tree) == ["b, a, c on k and d; every row of b"]
    with pytest.raises(InvalidJob, match="no member"):
        clf.align.join("a", on="k", how="left", base="z")
    with pytest.raises(InvalidJob, match="only a left join"):
        clf.align.join("a", on="k", base="a")


def test_link_says_what_is_compared() -> None:
    tree = clf.align.link(
        "a", "b", compare=[("name", "surname", "name")], block_on=["name"], threshold=0.95
    )
    (said,) = align_in_words(tree)
    assert "likeness of name with surname (name); pairs of probability 0.95 or more" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"on": []}, "keys"),
        ({"on": ["k", "k"]}, "named twice"),
        ({"on": "k", "how": "outer"}, "how"),
        ({"on": "k", "nulls": "drop"}, "nulls"),
    ],
)
def test_joins_that_make_no_sense_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidJob, match=said):
        clf.align.join("a", "b", **options)
    with pytest.raises(InvalidJob, match="duplicates"):
        clf.align.member("a", duplicates="last")  # type: ignore[arg-type] # what the test is about


def test_steps_are_told_in_their_order() -> None:
    said = prepare_in_words(
        [
            clf.prepare.filter("age >= 18"),
            clf.prepare.derive("bmi", "weight / (height * height)"),
            clf.prepare.bin("age", [30, 60]),
            clf.prepare.one_hot("sex"),
            clf.prepare.impute(["bmi"], "value", value=20),
            clf.prepare.standardise("bmi"),
            clf.prepare.split(test_fraction=0.2, seed=7),
            clf.prepare.select("bmi"),
        ]
    )
    assert said == [
        "1. keep rows where age >= 18",
        "2. bmi = weight / (height * height)",
        "3. put age into bins at 30, 60",
        "4. a column of 0 and 1 for each category that enough people have of sex",
        "5. fill missing values of bmi with 20.0",
        "6. standardise bmi",
        "7. 20% are test rows, by seed 7",
        "8. keep bmi",
    ]


def test_expression_is_refused_where_it_is_written() -> None:
    for text in ("read_csv('x')", "a; b", "sum(a)", ""):
        with pytest.raises(InvalidExpression):
            clf.prepare.filter(text)


def test_parameters_are_checked_where_they_are_written() -> None:
    with pytest.raises(InvalidJob, match="glm: family"):
        clf.GLM(outcome="y", family="cauchy")  # type: ignore[arg-type] # what the test is about
    glm = clf.GLM(outcome="y", predictors=("a", "b"), family="poisson")
    assert glm.to_json()["predictors"] == ["a", "b"]
    assert clf.GLM.parse(glm.to_json()) == glm
    assert isinstance(clf.align.join("a", on="k"), JoinNode)
