from __future__ import annotations

import pytest

from clf_sdk.errors import Malformed
from clf_sdk.keys import SigningKey
from clf_sdk.receipt import compare_receipts
from clf_testing import HandmadeRun


def test_same_file_is_the_same_run(made: HandmadeRun) -> None:
    data = made.seal()
    found = compare_receipts(data, data)
    assert (found.same, found.same_run, found.same_job, found.differences) == (True, True, True, ())
    assert repr(found) == "Comparison(the same receipt)"


def test_two_receipts_of_one_run_differ_where_they_differ(made: HandmadeRun) -> None:
    statement = made.statement()
    first = made.seal(statement)
    predicate = statement["predicate"]
    predicate["inputs"][1]["rows"] = 9
    predicate["inputs"][0]["columns"].append("x9")
    predicate["disclosure"]["row_level"].append("fit")
    found = compare_receipts(first, made.seal(statement))
    assert (found.same, found.same_run, found.same_job) == (False, True, True)
    assert {(each.place, each.first, each.second) for each in found.differences} == {
        ("predicate.inputs[0].columns[2]", None, '"x9"'),
        ("predicate.inputs[1].rows", "8", "9"),
        ("predicate.disclosure.row_level[0]", None, '"fit"'),
    }
    assert repr(found) == "Comparison(two receipts of one run, 3 differences)"


def test_same_statement_under_another_key_is_another_receipt(made: HandmadeRun) -> None:
    statement = made.statement()
    found = compare_receipts(made.seal(statement), made.seal(statement, key=SigningKey.generate()))
    assert not found.same
    assert [each.place for each in found.differences] == ["file"]


def test_different_runs_of_one_job(made: HandmadeRun) -> None:
    other = HandmadeRun(made.simulation, owners=made.owners)
    other.job = made.job
    found = compare_receipts(made.seal(), other.seal())
    assert (found.same, found.same_run, found.same_job) == (False, False, True)
    assert "predicate.run" in {each.place for each in found.differences}


def test_long_values_are_shortened(made: HandmadeRun) -> None:
    statement = made.statement()
    first = made.seal(statement)
    statement["predicate"]["owners"][0]["evidence"]["quote"] = "A" * 4000
    found = compare_receipts(first, made.seal(statement))
    (difference,) = found.differences
    assert difference.place == "predicate.owners[0].evidence.quote"
    assert difference.second is not None
    assert len(difference.second) == 80


def test_what_is_no_receipt_is_not_compared(made: HandmadeRun) -> None:
    with pytest.raises(Malformed):
        compare_receipts(made.seal(), b"{}")
