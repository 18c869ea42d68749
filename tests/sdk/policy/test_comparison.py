"""What is not called wider allows nothing new: whatever is asked."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import clf_sdk as clf
from clf_sdk.attestation import VerifiedEnclave, check_program
from clf_sdk.errors import (
    AttestationError,
    MeasurementMismatch,
    ProductMismatch,
    SignerMismatch,
    SvnTooLow,
)
from clf_sdk.policy import AccessRequest, Comparison, decide
from clf_testing import job_input, make_job
from clf_testing.policies import COLUMNS, IDENTITIES, MOMENTS, OPERATIONS, POLICIES

ENCLAVE = clf.EnclavePolicy(mrenclave="ab" * 32)
ANALYST = "1a" * 32
NOISED = clf.PrivateStatistics(statistics=[clf.private.count(epsilon=0.5)]).to_json()
SOON, LATER = (dt.datetime(year, 1, 1, tzinfo=dt.UTC) for year in (2027, 2028))
_PHASES = [phase for phase in Phase if phase is not Phase.explain]
"""To explain what fails may take longer than a test may."""


def policy(**changes: Any) -> clf.Policy:
    fields: dict[str, Any] = {"enclave": ENCLAVE, "operations": ["glm"]}
    return clf.Policy(**(fields | changes))


def enclave(**changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {"mrenclave": "ab" * 32}
    return {"enclave": clf.EnclavePolicy(**(fields | changes))}


@pytest.mark.parametrize(
    ("rule", "tight", "wide"),
    [
        ("enclave", enclave(mrsigner="cd" * 32), enclave()),
        ("enclave", enclave(isv_prod_id=1), enclave()),
        ("enclave", enclave(min_isv_svn=2), enclave(min_isv_svn=1)),
        ("enclave", enclave(min_isv_svn=1), enclave()),
        ("enclave", enclave(), enclave(tcb_statuses=["UpToDate", "OutOfDate"])),
        ("enclave", enclave(refused_advisories=["INTEL-SA-00001"]), enclave()),
        ("enclave", enclave(fmspcs=["00" * 6]), enclave()),
        ("enclave", enclave(fmspcs=["00" * 6]), enclave(fmspcs=["00" * 6, "11" * 6])),
        ("enclave", enclave(ppids=["00" * 16]), enclave()),
        ("enclave", enclave(max_collateral_age_days=30), enclave()),
        ("enclave", enclave(max_collateral_age_days=1), enclave(max_collateral_age_days=2)),
        ("analysts", {"analysts": [ANALYST]}, {}),
        ("analysts", {"analysts": [ANALYST]}, {"analysts": [ANALYST, "2a" * 32]}),
        ("operations", {}, {"operations": ["glm", "kmeans"]}),
        (
            "operations",
            {"jobs": ["0d" * 32]},
            {"operations": None, "jobs": ["0d" * 32]},
        ),
        ("jobs", {"jobs": ["0d" * 32]}, {}),
        ("columns", {"columns": ["a"]}, {}),
        ("columns", {"columns": ["a"]}, {"columns": ["a", "b"]}),
        ("rows", {"rows": "a > 1"}, {}),
        ("rows", {"rows": "b = 'x' AND a > 1"}, {"rows": "a > 1"}),
        ("rows", {"rows": "a > 1 AND (b = 1 OR c = 1)"}, {"rows": "(b=1 OR c=1)"}),
        ("runs", {}, {"runs": 2}),
        ("expires", {"expires": SOON}, {"expires": LATER}),
        ("expires", {"expires": LATER}, {}),
        ("smallest_group", {}, {"smallest_group": 9}),
        ("entity", {"entity": "id"}, {}),
        ("dominance", {"dominance": (1, 50)}, {}),
        ("dominance", {"dominance": (2, 50)}, {"dominance": (1, 50)}),
        ("dominance", {"dominance": (1, 50)}, {"dominance": (1, 60)}),
        ("round_counts", {"round_counts": 5}, {}),
        ("round_counts", {"round_counts": 10}, {"round_counts": 5}),
        ("output_rows", {"output_rows": 5}, {}),
        ("output_bytes", {"output_bytes": 5}, {"output_bytes": 6}),
        ("differencing", {}, {"differencing": "off"}),
        ("differencing", {"differencing": "refuse"}, {}),
        ("privacy_budget", {}, {"privacy_budget": 1.0}),
        ("privacy_budget", {"privacy_budget": 1.0}, {"privacy_budget": 1.5}),
        ("row_level", {}, {"row_level": [ANALYST]}),
        ("release", {"release": "review"}, {}),
        ("approval", {}, {"approval": "automatic"}),
    ],
)
def test_each_rule_knows_tighter_from_wider(
    rule: str, tight: dict[str, Any], wide: dict[str, Any]
) -> None:
    narrow, broad = policy(**tight), policy(**wide)
    assert narrow.compare(broad).wider == (rule,)
    assert narrow.compare(broad).tighter == ()
    assert broad.compare(narrow).tighter == (rule,)
    assert broad.compare(narrow).wider == ()
    assert narrow.compare(narrow) == Comparison(
        tuple(entry for entry in narrow.compare(narrow).changes if entry.change == "equal")
    )


@pytest.mark.parametrize(
    ("rule", "one", "other"),
    [
        ("enclave", enclave(), enclave(mrenclave="cd" * 32)),
        ("enclave", enclave(isv_prod_id=1), enclave(isv_prod_id=2)),
        ("enclave", enclave(isv_prod_id=1), enclave(min_isv_svn=1)),
        ("analysts", {"analysts": [ANALYST]}, {"analysts": ["2a" * 32]}),
        ("columns", {"columns": ["a", "b"]}, {"columns": ["c"]}),
        ("entity", {"entity": "a"}, {"entity": "b"}),
        ("dominance", {"dominance": (2, 60)}, {"dominance": (1, 50)}),
        ("round_counts", {"round_counts": 3}, {"round_counts": 5}),
        ("rows", {"rows": "a > 1"}, {"rows": "a > 2"}),
        ("rows", {"rows": "a > 1"}, {"rows": "a > 1 OR b = 1"}),
        ("rows", {"rows": "a > 1 AND b = 1"}, {"rows": "a > 1 AND c = 1"}),
    ],
)
def test_what_swaps_one_thing_for_another_is_wider_both_ways(
    rule: str, one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert policy(**one).compare(policy(**other)).wider == (rule,)
    assert policy(**other).compare(policy(**one)).wider == (rule,)


def test_same_filter_in_other_words_is_equal() -> None:
    one = policy(rows="a > 1 AND b = 'x'")
    assert one.compare(policy(rows="b='x'   and (a>1)  -- the same")).wider == ()
    assert repr(one.compare(policy(rows="b='x' and a>1"))) == "Comparison(equal)"


def _programs() -> list[VerifiedEnclave]:
    return [
        VerifiedEnclave(
            mrenclave=mrenclave,
            mrsigner=mrsigner,
            isv_prod_id=product,
            isv_svn=svn,
            attributes="00" * 16,
            report_data="00" * 64,
            tcb_status="UpToDate",
            advisories=(),
            fmspc="00" * 6,
            ppid="00" * 16,
            mode="simulation",
            verified_at=1,
        )
        for mrenclave in ("ab" * 32, "cd" * 32)
        for mrsigner in ("ef" * 32, "01" * 32)
        for product in (1, 2)
        for svn in (1, 3)
    ]


def _requests() -> list[AccessRequest]:
    asked = []
    for operation in OPERATIONS:
        for columns in (["age"], ["age", "income"], None):
            entry = job_input("0a" * 32, "t", columns=columns)
            asks = NOISED if operation == "private_statistics" else None
            job = make_job([entry], operation=operation, keys=["age"], parameters=asks)
            asked += [
                AccessRequest(
                    job=job,
                    entry=entry,
                    now=int(MOMENTS[number].timestamp()) - 1,
                    analyst=IDENTITIES[number],
                    columns=COLUMNS,
                    runs_used=number,
                    approved=number == 0,
                    privacy_spent=number * 400_000,
                )
                for number in range(3)
            ]
    return asked


REQUESTS = _requests()
PROGRAMS = _programs()


def _accepts(of: clf.Policy, program: VerifiedEnclave) -> bool:
    try:
        check_program(program, of.enclave)
    except (MeasurementMismatch, SignerMismatch, ProductMismatch, SvnTooLow):
        return False
    return True


@settings(deadline=None, max_examples=50, phases=_PHASES)
@given(before=POLICIES, after=POLICIES, data=st.data())
def test_rule_that_is_not_wider_allows_nothing_new(
    before: clf.Policy, after: clf.Policy, data: st.DataObject
) -> None:
    changes = {entry.rule: entry.change for entry in before.compare(after).changes}
    asked = data.draw(st.sampled_from(REQUESTS))
    for old, new in zip(decide(before, asked), decide(after, asked), strict=True):
        if new.outcome == "allowed" and changes[new.rule] != "wider":
            assert old.outcome == "allowed", new.rule
    if changes["enclave"] != "wider":
        for program in PROGRAMS:
            assert _accepts(before, program) or not _accepts(after, program)
    assert issubclass(MeasurementMismatch, AttestationError)


@settings(deadline=None, max_examples=50, phases=_PHASES)
@given(before=POLICIES, after=POLICIES)
def test_change_there_and_back_is_wider_at_least_once(
    before: clf.Policy, after: clf.Policy
) -> None:
    there, back = before.compare(after), after.compare(before)
    for one, other in zip(there.changes, back.changes, strict=True):
        assert (one.change == "equal") == (other.change == "equal")
        if one.change == "tighter":
            assert other.change == "wider"
    if before == after:
        assert there.wider == there.tighter == ()


def test_comparison_is_shown_in_words_and_escaped() -> None:
    compared = policy(rows="a = '<b>'").compare(policy(columns=["x"]))
    assert "wider    rows" in str(compared)
    assert "(was: only where a = '<b>')" in str(compared)
    assert repr(compared) == "Comparison(wider: rows; tighter: columns)"
    assert "<b>" not in compared._repr_html_()
    frame = compared.to_pandas().set_index("rule")
    assert frame.loc["rows", "change"] == "wider"
