from __future__ import annotations

import datetime as dt
import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings

import clf_sdk as clf
from clf_sdk import filters
from clf_sdk.attestation import EnclavePolicy
from clf_sdk.errors import ConfigurationError, FormatTooNew, InvalidFilter, InvalidName
from clf_sdk.policy import RULES, _document
from clf_testing.policies import POLICIES

ENCLAVE = clf.EnclavePolicy(mrenclave="ab" * 32)
ANALYST = "1a" * 32
CHECKED_IN = Path(__file__).parents[3] / "docs" / "policy.schema.json"
SCHEMA = clf.Policy.schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def policy(**changes: Any) -> clf.Policy:
    fields: dict[str, Any] = {"enclave": ENCLAVE, "operations": ["glm"]}
    return clf.Policy(**(fields | changes))


@settings(deadline=None)
@given(given_policy=POLICIES)
def test_policy_survives_json(given_policy: clf.Policy) -> None:
    document = json.loads(json.dumps(given_policy.to_json()))
    assert clf.Policy.from_json(document) == given_policy
    assert clf.Policy.from_json(document).digest == given_policy.digest
    VALIDATOR.validate(document)


def test_defaults_are_the_strict_ones() -> None:
    assert policy().to_json() == {
        "clf": 1,
        "type": "policy",
        "enclave": ENCLAVE.to_json(),
        "analysts": None,
        "operations": ["glm"],
        "jobs": None,
        "columns": None,
        "rows": None,
        "runs": 1,
        "expires": None,
        "smallest_group": 10,
        "entity": None,
        "dominance": None,
        "round_counts": 1,
        "output_rows": None,
        "output_bytes": None,
        "differencing": "review",
        "privacy_budget": None,
        "row_level": [],
        "release": "at_once",
        "approval": "ask",
    }
    short = {"clf": 1, "type": "policy", "enclave": {"mrenclave": "ab" * 32}, "operations": ["glm"]}
    assert clf.Policy.from_json(short) == policy()


def test_published_schema_is_the_code_s() -> None:
    # After a change: clf policy schema > docs/policy.schema.json
    assert json.loads(CHECKED_IN.read_text("utf-8")) == SCHEMA
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_schema_describes_every_field_with_the_code_s_default() -> None:
    whole = policy().to_json()
    assert list(SCHEMA["properties"]) == list(whole)
    enclave = SCHEMA["properties"]["enclave"]["properties"]
    assert list(enclave) == list(ENCLAVE.to_json())
    for properties, values in ((SCHEMA["properties"], whole), (enclave, ENCLAVE.to_json())):
        for name, described in properties.items():
            if "default" in described and name not in ("mrenclave", "operations"):
                assert described["default"] == values[name], name
            assert described.get("description") or name in ("clf", "type")
    assert filters.MOST_CHARACTERS == _document.MOST_FILTER_CHARACTERS


def test_lists_may_be_written_in_any_way() -> None:
    assert policy(operations="glm").operations == frozenset({"glm"})
    assert policy(operations=iter(["glm", "glm"])).to_json()["operations"] == ["glm"]
    assert policy(columns=["b", "a", "b"]).to_json()["columns"] == ["a", "b"]
    identity = clf.Identity.create()
    named = policy(analysts=[identity.public, ANALYST], row_level=identity.public)
    assert named.analysts == frozenset({identity.public.id, ANALYST})
    assert named.row_level == frozenset({identity.public.id})
    alone = policy(operations=None, jobs=["0f" * 32])
    assert alone.to_json()["operations"] is None


@pytest.mark.parametrize("name", ["operations", "jobs"])
def test_policy_names_operations_or_jobs(name: str) -> None:
    with pytest.raises(ConfigurationError, match="operations or jobs"):
        clf.Policy(enclave=ENCLAVE)
    with pytest.raises(ConfigurationError, match="is empty"):
        policy(**{"operations": None, name: []})
    document = policy().to_json()
    document["operations"] = None
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(document)


def test_policy_pins_an_enclave() -> None:
    guesses: list[Any] = [None, "any", "*", "", 0, {}]
    for anything in guesses:
        with pytest.raises(ConfigurationError, match="EnclavePolicy"):
            clf.Policy(enclave=anything, operations=["glm"])


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"operations": ["*"]}, InvalidName),
        ({"operations": 7}, ConfigurationError),
        ({"analysts": []}, ConfigurationError),
        ({"analysts": ["*"]}, ConfigurationError),
        ({"analysts": ["AB" * 32]}, ConfigurationError),
        ({"analysts": [None]}, ConfigurationError),
        ({"jobs": ["0" * 63]}, ConfigurationError),
        ({"columns": []}, ConfigurationError),
        ({"columns": [""]}, ConfigurationError),
        ({"columns": [7]}, ConfigurationError),
        ({"rows": ""}, InvalidFilter),
        ({"rows": "  "}, InvalidFilter),
        ({"rows": 7}, InvalidFilter),
        ({"rows": "TRUE"}, InvalidFilter),
        ({"rows": "age = (SELECT 1)"}, InvalidFilter),
        ({"runs": 0}, ConfigurationError),
        ({"runs": None}, ConfigurationError),
        ({"runs": True}, ConfigurationError),
        ({"runs": 1.0}, ConfigurationError),
        ({"runs": 1_000_001}, ConfigurationError),
        ({"expires": dt.datetime(2027, 1, 1)}, ConfigurationError),  # noqa: DTZ001 - the point
        ({"expires": dt.date(2027, 1, 1)}, ConfigurationError),
        ({"expires": 1_800_000_000}, ConfigurationError),
        ({"expires": dt.datetime(1960, 1, 1, tzinfo=dt.UTC)}, ConfigurationError),
        ({"smallest_group": 0}, ConfigurationError),
        ({"smallest_group": -1}, ConfigurationError),
        ({"smallest_group": None}, ConfigurationError),
        ({"privacy_budget": 0}, ConfigurationError),
        ({"privacy_budget": -1.0}, ConfigurationError),
        ({"privacy_budget": math.nan}, ConfigurationError),
        ({"privacy_budget": math.inf}, ConfigurationError),
        ({"privacy_budget": True}, ConfigurationError),
        ({"privacy_budget": "1"}, ConfigurationError),
        ({"privacy_budget": 1e-7}, ConfigurationError),
        ({"privacy_budget": 1_000_001}, ConfigurationError),
        ({"entity": ""}, ConfigurationError),
        ({"entity": ["id"]}, ConfigurationError),
        ({"dominance": 50}, ConfigurationError),
        ({"dominance": (0, 50)}, ConfigurationError),
        ({"dominance": (1, 100)}, ConfigurationError),
        ({"dominance": (1, 50, 2)}, ConfigurationError),
        ({"round_counts": 0}, ConfigurationError),
        ({"output_rows": 0}, ConfigurationError),
        ({"output_bytes": 1.5}, ConfigurationError),
        ({"differencing": "on"}, ConfigurationError),
        ({"row_level": ["everybody"]}, ConfigurationError),
        ({"row_level": None}, ConfigurationError),
        ({"release": "never"}, ConfigurationError),
        ({"release": None}, ConfigurationError),
        ({"approval": True}, ConfigurationError),
        ({"approval": ["ask"]}, ConfigurationError),
    ],
    ids=repr,
)
def test_rule_that_makes_no_sense_is_refused(
    changes: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        policy(**changes)


@pytest.mark.parametrize(
    "change",
    [
        {"type": "job"},
        {"clf": 0},
        {"clf": None},
        {"clf": "1"},
        {"clf": True},
        {"operations": []},
        {"operations": "glm"},
        {"operations": [7]},
        {"operations": ["glm", "glm"]},
        {"operations": None},
        {"enclave": None},
        {"enclave": {}},
        {"enclave": []},
        {"enclave": {"mrenclave": "ab" * 32, "anything": True}},
        {"analysts": []},
        {"analysts": "everybody"},
        {"columns": []},
        {"columns": ["a", "a"]},
        {"runs": 0},
        {"runs": None},
        {"runs": "1"},
        {"runs": True},
        {"expires": "2027-01-01"},
        {"expires": 0},
        {"expires": 1 << 60},
        {"smallest_group": 0},
        {"smallest_group": 2.5},
        {"entity": 1},
        {"dominance": [1, 50]},
        {"dominance": {"largest": 1, "percent": 0}},
        {"round_counts": 0},
        {"privacy_budget": 0},
        {"privacy_budget": "1"},
        {"privacy_budget": 1e9},
        {"row_level": None},
        {"release": "now"},
        {"approval": None},
        {"more": 1},
    ],
    ids=repr,
)
def test_document_that_is_no_policy_is_refused_by_code_and_schema(change: dict[str, Any]) -> None:
    document = policy().to_json() | change
    with pytest.raises((ConfigurationError, InvalidName)):
        clf.Policy.from_json(document)
    if change == {"clf": True}:
        return  # what JSON Schema can't tell from 1 in Python
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(document)


def test_document_of_a_later_version_is_too_new() -> None:
    with pytest.raises(FormatTooNew):
        clf.Policy.from_json(policy().to_json() | {"clf": 2, "new_rule": 1})


@pytest.mark.parametrize("value", [None, [], "policy", 1])
def test_what_is_no_object_is_no_policy(value: Any) -> None:
    with pytest.raises(ConfigurationError):
        clf.Policy.from_json(value)


def test_expiry_is_one_moment_in_whatever_zone_it_was_written() -> None:
    berlin = dt.timezone(dt.timedelta(hours=2))
    written = dt.datetime(2027, 7, 1, 2, 0, 0, 999_999, tzinfo=berlin)
    same = policy(expires=written)
    assert same == policy(expires=dt.datetime(2027, 7, 1, tzinfo=dt.UTC))
    assert same.to_json()["expires"] == 1_814_400_000


def test_policy_is_shown_in_words_and_escaped() -> None:
    shown = policy(columns=["a<b>"], rows="\"a<b>\" = '<i>'", row_level=[ANALYST], runs=3)
    assert str(shown).count("\n") == len(RULES) - 1
    assert "only where \"a<b>\" = '<i>'" in str(shown)
    assert "each approved job 3 times" in str(shown)
    assert "<i>" not in shown._repr_html_()
    assert repr(shown).startswith("Policy(glm on 1 columns, filtered rows; runs=3")
    assert EnclavePolicy(mrenclave="ab" * 32) == shown.enclave


def test_policy_of_other_columns_does_not_fit_a_table() -> None:
    import pyarrow as pa  # noqa: PLC0415 - only this test needs it

    schema = pa.schema({"age": pa.int64()})
    policy(columns=["age"], rows="age > 1").check_table(schema)
    with pytest.raises(ConfigurationError, match="'Age'"):
        policy(columns=["Age"]).check_table(schema)
    with pytest.raises(InvalidFilter, match="'zip'"):
        policy(rows="zip = 'x'").check_table(schema)
