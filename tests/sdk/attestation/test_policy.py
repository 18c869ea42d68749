from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clf_sdk.attestation import EnclavePolicy
from clf_sdk.errors import ConfigurationError

A, B = "0a" * 32, "0b" * 32


def hex_of(digits: int) -> st.SearchStrategy[str]:
    return st.text("0123456789abcdefABCDEF", min_size=digits, max_size=digits)


MEASUREMENTS = hex_of(64).filter(lambda text: text.strip("0"))
STATUSES = st.frozensets(
    st.sampled_from(["UpToDate", "SWHardeningNeeded", "OutOfDate", "ConfigurationNeeded"]),
    min_size=1,
)
POLICIES = st.builds(
    EnclavePolicy,
    mrenclave=MEASUREMENTS,
    mrsigner=st.none() | MEASUREMENTS,
    isv_prod_id=st.none() | st.integers(0, 65535),
    min_isv_svn=st.none() | st.integers(0, 65535),
    tcb_statuses=STATUSES,
    refused_advisories=st.frozensets(st.from_regex(r"INTEL-SA-[0-9]{5}", fullmatch=True)),
    fmspcs=st.none() | st.frozensets(hex_of(12), min_size=1),
    ppids=st.none() | st.frozensets(hex_of(32), min_size=1),
    max_collateral_age_days=st.none() | st.integers(1, 366),
)


@given(policy=POLICIES)
def test_policy_survives_json(policy: EnclavePolicy) -> None:
    document = json.loads(json.dumps(policy.to_json()))
    assert EnclavePolicy.from_json(document) == policy
    assert list(document) == [
        "mrenclave",
        "mrsigner",
        "isv_prod_id",
        "min_isv_svn",
        "tcb_statuses",
        "refused_advisories",
        "fmspcs",
        "ppids",
        "max_collateral_age_days",
    ]


def test_hex_is_normalised_to_lower_case() -> None:
    assert EnclavePolicy(mrenclave=A.upper()) == EnclavePolicy(mrenclave=A)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"isv_prod_id": 1, "min_isv_svn": 1},
        {"fmspcs": ["00" * 6]},
        {"mrenclave": None, "mrsigner": None},
    ],
)
def test_policy_that_pins_nothing_can_not_be_built(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="pins no enclave"):
        EnclavePolicy(**arguments)
    with pytest.raises(ConfigurationError, match="pins no enclave"):
        EnclavePolicy.from_json(arguments)


@pytest.mark.parametrize("name", ["mrenclave", "mrsigner"])
def test_measurement_of_zeros_can_not_be_pinned(name: str) -> None:
    with pytest.raises(ConfigurationError, match="zeros"):
        EnclavePolicy.from_json({"mrenclave": A, name: "0" * 64})


@pytest.mark.parametrize(
    "arguments", [{}, {"isv_prod_id": 1}, {"min_isv_svn": 1}, {"isv_prod_id": 1, "fmspcs": None}]
)
def test_signer_alone_is_not_enough(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="everything that its holder"):
        EnclavePolicy(mrsigner=B, **arguments)
    EnclavePolicy(mrsigner=B, isv_prod_id=0, min_isv_svn=0)
    EnclavePolicy(mrsigner=B, mrenclave=A)


def test_unknown_status_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'UpToDate'"):
        EnclavePolicy(mrenclave=A, tcb_statuses=frozenset({"up_to_date"}))
    with pytest.raises(ConfigurationError, match="did you mean 'SWHardeningNeeded'"):
        EnclavePolicy(mrenclave=A, tcb_statuses=frozenset({"SW_HARDENING_NEEDED"}))


def test_revoked_can_never_be_allowed() -> None:
    with pytest.raises(ConfigurationError, match="revoked"):
        EnclavePolicy(mrenclave=A, tcb_statuses=frozenset({"UpToDate", "Revoked"}))


def test_unknown_field_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'mrenclave'"):
        EnclavePolicy.from_json({"mr_enclave": A})


@pytest.mark.parametrize(
    "changes",
    [
        {"mrenclave": "0a" * 31},
        {"mrenclave": A + "\n"},
        {"mrenclave": bytes(32)},
        {"mrenclave": "*"},
        {"mrenclave": ""},
        {"mrsigner": ""},
        {"isv_prod_id": -1},
        {"isv_prod_id": True},
        {"min_isv_svn": 65536},
        {"min_isv_svn": "1"},
        {"tcb_statuses": []},
        {"tcb_statuses": None},
        {"tcb_statuses": "UpToDate"},
        {"tcb_statuses": [1]},
        {"refused_advisories": None},
        {"refused_advisories": ["everything"]},
        {"fmspcs": []},
        {"fmspcs": ["00"]},
        {"ppids": []},
        {"ppids": ["*"]},
        {"max_collateral_age_days": 0},
        {"max_collateral_age_days": 367},
        {"max_collateral_age_days": True},
        {"max_collateral_age_days": 1.5},
    ],
)
def test_values_that_make_no_sense_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        EnclavePolicy.from_json({"mrenclave": A, **changes})


@pytest.mark.parametrize("document", [None, [], "any", 0])
def test_policy_document_must_be_an_object(document: Any) -> None:
    with pytest.raises(ConfigurationError):
        EnclavePolicy.from_json(document)
