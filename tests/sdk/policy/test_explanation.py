from __future__ import annotations

import datetime as dt
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_sdk.errors import ConfigurationError, InvalidInput
from clf_sdk.policy import RULES
from clf_testing import job_input, make_job

NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
SERVER = "0a" * 32
JOB = make_job([job_input(SERVER, "health", columns=["id", "age"]), job_input("0b" * 32, "visits")])


def policy(**changes: Any) -> clf.Policy:
    fields: dict[str, Any] = {
        "enclave": clf.EnclavePolicy(mrenclave="ab" * 32),
        "operations": ["glm"],
    }
    return clf.Policy(**(fields | changes))


def test_every_rule_is_explained_in_order() -> None:
    explained = policy(columns=["id"], rows="age > 17").explain(JOB, table="health", now=NOW)
    assert [entry.rule for entry in explained.verdicts] == [rule.name for rule in RULES]
    assert explained.allowed is False
    assert explained.refused == ("columns",)
    assert explained.open == ("enclave", "approval")
    text = str(explained)
    assert text.splitlines()[0] == (
        f"Job 'a-job' ({JOB.digest[:12]}…) on table 'health': refused by columns"
    )
    assert "REFUSED         columns         age may not leave, only id may" in text
    assert "allowed         rows            only rows where age > 17 leave" in text
    assert "in the enclave  smallest_group" in text
    assert repr(explained).startswith("Explanation(Job 'a-job'")


def test_allowed_job_says_what_is_open() -> None:
    explained = policy(approval="automatic").explain(JOB, table="health", now=NOW)
    assert explained.allowed
    assert "allowed, as soon as known: enclave" in str(explained)


def test_time_is_an_argument() -> None:
    ending = policy(expires=NOW)
    second = dt.timedelta(seconds=1)
    assert ending.explain(JOB, table="health", now=NOW - second).allowed
    assert ending.explain(JOB, table="health", now=NOW).refused == ("expires",)
    assert ending.explain(JOB, table="health", now=int(NOW.timestamp())).refused == ("expires",)
    long_ago = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
    assert policy(expires=long_ago).explain(JOB, table="health").refused == ("expires",)
    with pytest.raises(InvalidInput, match="time zone"):
        policy().explain(JOB, table="health", now=NOW.replace(tzinfo=None))


def test_analyst_is_the_job_s_unless_another_is_asked_about() -> None:
    asking = JOB.analyst.digest
    other = clf.Identity.create()
    assert policy(analysts=[asking]).explain(JOB, table="health").allowed
    refused = policy(analysts=[asking]).explain(JOB, table="health", analyst=other.public)
    assert refused.refused == ("analysts",)
    assert other.public.fingerprint in str(refused)
    with pytest.raises(ConfigurationError):
        policy().explain(JOB, table="health", analyst="somebody")


def test_schema_lets_columns_and_filter_be_checked() -> None:
    schema = pa.schema({"id": pa.int64(), "name": pa.string()})
    everything = make_job([job_input(SERVER, "health")])
    allowed = policy(columns=["id", "name"], rows="name = 'x'")
    assert allowed.explain(everything, schema=schema).allowed
    assert allowed.explain(everything).open == ("enclave", "columns", "approval")
    assert policy(columns=["id"]).explain(everything, schema=schema).refused == ("columns",)
    assert policy(rows="name = 1").explain(everything, schema=schema).refused == ("rows",)


def test_table_may_be_one_that_is_shared() -> None:
    columns = [SimpleNamespace(name="id"), SimpleNamespace(name="age")]
    table: Any = SimpleNamespace(
        name="health",
        connection=SimpleNamespace(server=SERVER),
        description=SimpleNamespace(columns=columns, privacy=None),
    )
    assert policy(columns=["id", "age"]).explain(JOB, table=table).allowed
    table.connection.server = "0c" * 32
    with pytest.raises(InvalidInput, match="does not name this table"):
        policy().explain(JOB, table=table)


@pytest.mark.parametrize(("table", "message"), [(None, "several"), ("other", "does not name")])
def test_table_must_be_one_of_the_job_s(table: str | None, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        policy().explain(JOB, table=table)
    assert "health, visits" in str(caught.value)


def test_job_may_be_a_document_of_any_kind() -> None:
    job = clf.Job.__new__(clf.Job)
    object.__setattr__(job, "document", JOB)
    expected = policy().explain(JOB, table="health", now=NOW)
    assert policy().explain(job, table="health", now=NOW) == expected
    assert policy().explain(JOB.to_json(), table="health", now=NOW) == expected


def test_explanation_is_for_notebooks_and_machines_too() -> None:
    explained = policy(columns=["<b>"]).explain(JOB, table="health", now=NOW)
    assert "<b>" not in explained._repr_html_()
    assert "&lt;b&gt;" in explained._repr_html_()
    frame = explained.to_pandas()
    assert list(frame.columns) == ["rule", "outcome", "reason"]
    assert len(frame) == len(RULES)
    assert explained.to_json()["allowed"] is False
    assert explained.to_json()["rules"][0]["rule"] == "enclave"
