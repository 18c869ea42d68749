from __future__ import annotations

from typing import Any

import pytest

import clf_sdk as clf
from clf_sdk.errors import ConfigurationError, FormatTooNew, InvalidName

ENCLAVE = clf.EnclavePolicy(mrenclave="ab" * 32)


def test_policy_round_trips() -> None:
    policy = clf.Policy(enclave=ENCLAVE, operations=["glm", "describe", "glm"])
    assert policy.to_json()["operations"] == ["describe", "glm"]
    assert clf.Policy.from_json(policy.to_json()) == policy
    assert clf.Policy(enclave=ENCLAVE, operations="glm").operations == frozenset({"glm"})


def test_policy_names_an_operation() -> None:
    with pytest.raises(ConfigurationError, match="at least one operation"):
        clf.Policy(enclave=ENCLAVE, operations=[])
    with pytest.raises(InvalidName):
        clf.Policy(enclave=ENCLAVE, operations=["*"])


def test_policy_pins_an_enclave() -> None:
    guesses: list[Any] = [None, "any", "*", "", 0, {}]
    for anything in guesses:
        with pytest.raises(ConfigurationError, match="EnclavePolicy"):
            clf.Policy(enclave=anything, operations=["glm"])


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
        {"operations": [["glm"]]},
        {"operations": [None]},
        {"enclave": None},
        {"enclave": {}},
        {"enclave": []},
        {"more": 1},
    ],
    ids=repr,
)
def test_document_that_is_no_policy_is_refused(change: dict[str, Any]) -> None:
    document = clf.Policy(enclave=ENCLAVE, operations=["glm"]).to_json()
    with pytest.raises((ConfigurationError, InvalidName)):
        clf.Policy.from_json(document | change)


def test_document_of_a_later_version_is_too_new() -> None:
    document = clf.Policy(enclave=ENCLAVE, operations=["glm"]).to_json()
    with pytest.raises(FormatTooNew):
        clf.Policy.from_json(document | {"clf": 2})


@pytest.mark.parametrize("value", [None, [], "policy", 1])
def test_what_is_no_object_is_no_policy(value: Any) -> None:
    with pytest.raises(ConfigurationError):
        clf.Policy.from_json(value)
