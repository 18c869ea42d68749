"""A dry run: the enclave's own code, on rows that nobody has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_sdk.errors import ConfigurationError, InvalidJob, NotFound
from clf_testing import job_input, joined, make_job

A = pa.table({"id": [f"p{n}" for n in range(300)], "x": np.arange(300.0)})
B = pa.table({"id": [f"p{n}" for n in range(300)], "y": np.arange(300.0) % 7})


def _job(operation: Any, **more: Any) -> clf.Job:
    inputs = [job_input("0a" * 32, "a"), job_input("0b" * 32, "b")]
    document = make_job(
        inputs,
        operation=operation.operation,
        parameters=operation.to_json(),
        align=joined(["a", "b"]),
        **more,
    )
    return clf.Job.of(document, endpoints=[])


def test_outputs_have_the_shape_of_a_run_and_rules_are_told() -> None:
    found = clf.dry_run(
        _job(clf.GLM(outcome="y", predictors=["x"], family="gaussian")), tables={"a": A, "b": B}
    )
    assert found.shapes["coefficients"] == "2 rows, 7 columns"
    assert found.to_pandas()["term"].tolist() == ["const", "x"]
    assert not found.refused
    assert any(line.startswith("coefficients: checked") for line in found.rules)
    assert "MOCK" in repr(found)
    assert "MOCK DATA" in found._repr_html_()
    with pytest.raises(NotFound, match="coefficients"):
        found.to_pandas("nothing")


def test_rules_that_would_refuse_are_told(policy: clf.Policy) -> None:
    strict = clf.Policy(enclave=policy.enclave, operations=["glm"], smallest_group=1000)
    job = _job(clf.GLM(outcome="y", predictors=["x"], family="gaussian"))
    found = clf.dry_run(job, tables={"a": A, "b": B}, policies=[strict, policy])
    assert [error.rule for error in found.refused] == ["smallest_group"]
    assert found.outputs == {}
    assert found.rules[0].startswith("smallest_group refuses")


def test_function_fails_with_its_own_error_and_goes_only_where_owners_allow() -> None:
    source = "def it(table, arguments):\n    return {'out': {'n': {}['nothing']}}"
    with pytest.raises(InvalidJob, match="KeyError: 'nothing'"):
        clf.dry_run(
            _job(clf.Python(source=source, function="it", outputs=["out"])),
            tables={"a": A, "b": B},
        )
    whole = clf.Python(
        source=source.replace("{}['nothing']", "table.num_rows"), function="it", outputs=["out"]
    )
    found = clf.dry_run(_job(whole), tables={"a": A, "b": B})
    assert found.outputs["out"] == {"n": 300}
    assert [error.rule for error in found.refused] == ["row_level"]


def test_owner_or_input_that_is_not_there_is_named() -> None:
    job = _job(clf.GLM(outcome="y", predictors=["x"], family="gaussian"))
    with pytest.raises(ConfigurationError, match="'a'"):
        clf.dry_run(job)
    with pytest.raises(ConfigurationError, match="'c'"):
        clf.dry_run(job, tables={"c": A})
