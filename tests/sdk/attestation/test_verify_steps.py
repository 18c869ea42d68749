"""Every step of docs/protocol.md §7 is broken alone, and must be refused for that reason."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clf_sdk import errors
from clf_sdk.attestation import EnclavePolicy, SimulatedPlatform, TrustAnchor, verify_quote
from clf_sdk.attestation._simulated_pki import raw_signature
from clf_sdk.attestation._verify import _check_attributes

DAY = 86400
YEAR = 365 * DAY
STATUSES = [
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
]
# Regions of a quote that signatures cover, first byte and one after the last.
REGIONS = {
    "header": (0, 48),
    "report": (48, 432),
    "signature length": (432, 436),
    "ISV signature": (436, 500),
    "attestation key": (500, 564),
    "QE report": (564, 948),
    "QE report signature": (948, 1012),
    "auth length": (1012, 1014),
    "auth data": (1014, 1046),
    "certification type": (1046, 1048),
    "chain length": (1048, 1052),
}
SIGNED_END = 1052


def flip(quote: bytes, at: int, mask: int = 1) -> bytes:
    return quote[:at] + bytes([quote[at] ^ mask]) + quote[at + 1 :]


def test_unbroken_quote_verifies_and_says_that_it_is_a_simulation(bench: Any) -> None:
    enclave = bench.verify()
    assert enclave.mrenclave == "ab" * 32
    assert (enclave.isv_prod_id, enclave.isv_svn, enclave.mode) == (7, 3, "simulation")
    assert enclave.report_data == bench.report_data.hex()
    assert enclave.tcb_status == "UpToDate"
    assert "INSECURE SIMULATION" in repr(enclave)
    assert json.loads(json.dumps(enclave.to_json()))["mode"] == "simulation"


# 1. Shape


@pytest.mark.parametrize("tail", [b"\0", b"x" * 100])
def test_step_1_trailing_bytes_are_refused(bench: Any, tail: bytes) -> None:
    with pytest.raises(errors.QuoteMalformed):
        bench.verify(bench.quote() + tail)


@pytest.mark.parametrize("keep", [0, 1, 435, 436, 1013, 1051, -1])
def test_step_1_truncated_quote_is_refused(bench: Any, keep: int) -> None:
    with pytest.raises(errors.QuoteMalformed):
        bench.verify(bench.quote()[:keep])


@pytest.mark.parametrize("at", [0, 2, 4, 432, 1012, 1046, 1048])
def test_step_1_other_versions_kinds_and_lengths_are_refused(bench: Any, at: int) -> None:
    with pytest.raises(errors.QuoteMalformed):
        bench.verify(flip(bench.quote(), at))


def test_step_1_quote_that_is_not_bytes_is_refused(bench: Any) -> None:
    with pytest.raises(errors.QuoteMalformed):
        bench.verify(bytearray(bench.quote()))


# 2. Anchor


def test_step_2_other_simulations_quote_is_refused(bench: Any, other_bench: Any) -> None:
    with pytest.raises(errors.AnchorMismatch, match="quote"):
        bench.verify(other_bench.quote(), collateral=other_bench.platform.collateral)


def test_step_2_simulation_never_satisfies_intels_root(bench: Any) -> None:
    real = dataclasses.replace(bench, anchor=TrustAnchor.intel())
    with pytest.raises(errors.AnchorMismatch, match="Intel"):
        real.verify()


def test_step_2_naming_the_trusted_root_without_its_signature_is_no_use(
    bench: Any, other_bench: Any
) -> None:
    """A forger can append the trusted root to a chain of another root."""
    quote = other_bench.quote()
    extra = bench.platform.anchor_pem
    chain_bytes = int.from_bytes(quote[1048:1052], "little") + len(extra)
    signature_bytes = int.from_bytes(quote[432:436], "little") + len(extra)
    forged = (
        quote[:432]
        + signature_bytes.to_bytes(4, "little")
        + quote[436:1048]
        + chain_bytes.to_bytes(4, "little")
        + quote[1052:]
        + extra
    )
    with pytest.raises(errors.QuoteUnverified):
        bench.verify(forged)


# 3. Collateral


def test_step_3_collateral_of_another_root_is_refused(bench: Any, other_bench: Any) -> None:
    with pytest.raises(errors.AnchorMismatch, match="collateral"):
        bench.verify(collateral=other_bench.platform.collateral)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tcb_info", "{}"),
        ("tcb_info", "nothing"),
        ("qe_identity", "[]"),
        ("root_ca_crl", "00"),
        ("pck_crl", ""),
        ("pck_crl_issuer_chain", "no certificate"),
        ("tcb_info_issuer_chain", ""),
    ],
)
def test_step_3_unreadable_collateral_is_refused(bench: Any, name: str, value: str) -> None:
    broken = dataclasses.replace(bench.platform.collateral, **{name: value})
    with pytest.raises(errors.CollateralMalformed):
        bench.verify(collateral=broken)


# 4. Signatures and times


@pytest.mark.parametrize("region", [r for r in REGIONS if "length" not in r and "type" not in r])
def test_step_4_changed_byte_in_each_region_is_refused(bench: Any, region: str) -> None:
    quote = bench.quote()
    start, end = REGIONS[region]
    for at in (start + 12 if region == "header" else start, (start + end) // 2, end - 1):
        with pytest.raises((errors.QuoteUnverified, errors.DebugEnclave)):
            bench.verify(flip(quote, at))


def test_step_4_forged_report_is_refused_whatever_it_claims(bench: Any) -> None:
    """Another MRENCLAVE is written over a genuine quote of an enclave that is not trusted."""
    genuine = bench.quote(mrenclave="cd" * 32)
    with pytest.raises(errors.QuoteUnverified):
        bench.verify(genuine[:112] + bytes.fromhex("ab" * 32) + genuine[144:])


@pytest.mark.parametrize(
    "name", ["tcb_info_signature", "qe_identity_signature", "root_ca_crl", "pck_crl"]
)
def test_step_4_changed_signature_of_collateral_is_refused(bench: Any, name: str) -> None:
    collateral = bench.platform.collateral
    text = getattr(collateral, name)
    last = "0" if text[-1] != "0" else "1"
    with pytest.raises(errors.QuoteUnverified):
        bench.verify(collateral=dataclasses.replace(collateral, **{name: text[:-1] + last}))


def test_step_4_tcb_info_with_a_better_status_is_refused(bench: Any) -> None:
    bad = bench.platform.reissue(now=bench.now, tcb_status="OutOfDate")
    better = dataclasses.replace(bad, tcb_info=bad.tcb_info.replace("OutOfDate", "UpToDate"))
    with pytest.raises(errors.QuoteUnverified):
        bench.verify(collateral=better)


def test_step_4_reformatted_tcb_info_is_refused(bench: Any) -> None:
    collateral = bench.platform.collateral
    spaced = json.dumps(json.loads(collateral.tcb_info))
    with pytest.raises(errors.QuoteUnverified):
        bench.verify(collateral=dataclasses.replace(collateral, tcb_info=spaced))


@pytest.mark.parametrize("shift", [-1, -DAY, YEAR, YEAR + DAY, 20 * YEAR])
def test_step_4_time_outside_the_collateral_is_refused(bench: Any, shift: int) -> None:
    with pytest.raises(errors.CollateralExpired):
        bench.verify(now=bench.now + shift)


@pytest.mark.parametrize("shift", [0, DAY, YEAR - 1])
def test_step_4_both_edges_of_the_collateral_are_inside(bench: Any, shift: int) -> None:
    bench.verify(now=bench.now + shift)


def test_step_4_certificate_that_is_not_yet_valid_is_refused(bench: Any) -> None:
    early = bench.platform.reissue(now=bench.now - DAY)
    with pytest.raises(errors.CollateralExpired, match="certificate"):
        bench.verify(collateral=early, now=bench.now - DAY // 2)


def test_step_4_revoked_platform_certificate_is_refused(bench: Any) -> None:
    revoked = bench.platform.reissue(now=bench.now, revoke_pck=True)
    with pytest.raises(errors.PlatformRevoked, match="certificate"):
        bench.verify(collateral=revoked)


def test_step_4_revoked_tcb_is_refused(bench: Any) -> None:
    revoked = bench.platform.reissue(now=bench.now, tcb_status="Revoked")
    with pytest.raises(errors.PlatformRevoked, match="TCB"):
        bench.verify(collateral=revoked)


def test_step_4_collateral_of_another_platform_type_is_refused(bench: Any) -> None:
    info = bench.platform.collateral
    foreign = json.loads(info.tcb_info) | {"fmspc": "0" * 12}
    text = json.dumps(foreign, separators=(",", ":"))
    signature = raw_signature(bench.platform._pki.tcb_signing.key, text.encode()).hex()
    other = dataclasses.replace(info, tcb_info=text, tcb_info_signature=signature)
    with pytest.raises(errors.QuoteUnverified):
        bench.verify(collateral=other)


@given(data=st.data())
def test_step_4_any_changed_byte_of_the_signed_areas_is_refused(bench: Any, data: Any) -> None:
    quote = bench.quote()
    at = data.draw(st.integers(0, SIGNED_END - 1))
    mask = data.draw(st.integers(1, 255))
    with pytest.raises(errors.AttestationError):
        bench.verify(flip(quote, at, mask))


@given(data=st.data())
def test_step_4_changed_chain_proves_the_same_enclave_or_nothing(bench: Any, data: Any) -> None:
    """White space and text between certificates are malleable, certificates are not."""
    quote = bench.quote()
    at = data.draw(st.integers(SIGNED_END, len(quote) - 1))
    mask = data.draw(st.integers(1, 255))
    try:
        enclave = bench.verify(flip(quote, at, mask))
    except errors.AttestationError:
        return
    assert enclave == bench.verify(quote)


# 5. Attributes


def test_step_5_debug_enclave_is_refused(bench: Any) -> None:
    with pytest.raises(errors.DebugEnclave):
        bench.verify(bench.quote(debug=True))


def test_step_5_debug_enclave_is_refused_even_if_the_library_let_it_pass(bench: Any) -> None:
    enclave = dataclasses.replace(bench.verify(), attributes="07" + "00" * 15)
    with pytest.raises(errors.DebugEnclave):
        _check_attributes(enclave)


@pytest.mark.parametrize("flags", [0x15, 0x25, 0x35, 0x04, 0x01])
def test_step_5_unsafe_or_incomplete_attributes_are_refused(bench: Any, flags: int) -> None:
    attributes = bytes([flags]) + bytes(7) + b"\xe7" + bytes(7)
    with pytest.raises(errors.AttributesRefused):
        bench.verify(bench.quote(attributes=attributes))


# 6. Report data


@pytest.mark.parametrize("at", [0, 31, 32, 63])
def test_step_6_all_64_bytes_of_report_data_are_compared(bench: Any, at: int) -> None:
    with pytest.raises(errors.ReportDataMismatch):
        bench.verify(bench.quote(report_data=flip(bench.report_data, at)))


@pytest.mark.parametrize("expected", [b"", bytes(32), bytes(65), "00" * 32])
def test_step_6_expected_report_data_has_64_bytes(bench: Any, expected: Any) -> None:
    with pytest.raises(errors.InvalidInput):
        dataclasses.replace(bench, report_data=expected).verify(bench.quote())


# 7. Identity


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"mrenclave": "ac" * 32}, errors.MeasurementMismatch),
        ({"mrsigner": "ac" * 32}, errors.SignerMismatch),
        ({"isv_prod_id": 8}, errors.ProductMismatch),
        ({"isv_svn": 2}, errors.SvnTooLow),
    ],
)
def test_step_7_another_identity_is_refused(
    bench: Any, changes: dict[str, Any], cause: type[errors.AttestationError]
) -> None:
    with pytest.raises(cause, match="policy"):
        bench.verify(bench.quote(**changes))


def test_step_7_higher_svn_is_accepted(bench: Any) -> None:
    assert bench.verify(bench.quote(isv_svn=4)).isv_svn == 4


def test_step_7_signer_policy_accepts_another_measurement_only(bench: Any) -> None:
    signer = bench.with_policy(mrenclave=None)
    assert signer.verify(bench.quote(mrenclave="ac" * 32)).mrenclave == "ac" * 32
    with pytest.raises(errors.SignerMismatch):
        signer.verify(bench.quote(mrsigner="ac" * 32))


# 8. TCB


@pytest.mark.parametrize("status", STATUSES)
def test_step_8_status_is_refused_unless_the_policy_names_it(bench: Any, status: str) -> None:
    advisories = ("INTEL-SA-00001",)
    collateral = bench.platform.reissue(now=bench.now, tcb_status=status, advisories=advisories)
    with pytest.raises(errors.TcbStatusRefused, match=rf"{status} \(INTEL-SA-00001\)"):
        bench.verify(collateral=collateral)
    others = frozenset(STATUSES) - {status}
    with pytest.raises(errors.TcbStatusRefused):
        bench.with_policy(tcb_statuses=others).verify(collateral=collateral)
    allowed = bench.with_policy(tcb_statuses=frozenset({status})).verify(collateral=collateral)
    assert (allowed.tcb_status, allowed.advisories) == (status, advisories)


def test_step_8_out_of_date_platform_is_refused_years_later_too(bench: Any) -> None:
    collateral = bench.platform.reissue(now=bench.now, tcb_status="OutOfDate")
    with pytest.raises(errors.TcbStatusRefused):
        bench.verify(collateral=collateral, now=bench.now + YEAR - 1)


def test_step_8_refused_advisory_is_refused_in_an_allowed_status(bench: Any) -> None:
    collateral = bench.platform.reissue(
        now=bench.now, tcb_status="OutOfDate", advisories=("INTEL-SA-00001", "INTEL-SA-00002")
    )
    statuses = frozenset({"UpToDate", "OutOfDate"})
    refusing = bench.with_policy(
        tcb_statuses=statuses, refused_advisories=frozenset({"intel-sa-00002"})
    )
    with pytest.raises(errors.AdvisoryRefused, match="INTEL-SA-00002"):
        refusing.verify(collateral=collateral)
    bench.with_policy(
        tcb_statuses=statuses, refused_advisories=frozenset({"INTEL-SA-00003"})
    ).verify(collateral=collateral)


@pytest.mark.parametrize("days", [1, 30])
def test_step_8_collateral_that_was_issued_too_long_ago_is_refused(bench: Any, days: int) -> None:
    limited = bench.with_policy(max_collateral_age_days=days)
    issued = bench.platform.collateral.issued_at
    last = issued + days * 86_400
    limited.verify(now=last)
    with pytest.raises(errors.CollateralTooOld, match=f"policy allows {days}"):
        limited.verify(now=last + 1)
    bench.verify(now=last + 1)
    fresh = bench.platform.reissue(now=last)
    limited.verify(collateral=fresh, now=last + 1)


# 9. Platform


@pytest.mark.parametrize(("name", "digits"), [("fmspcs", 12), ("ppids", 32)])
def test_step_9_platform_outside_the_list_is_refused(bench: Any, name: str, digits: int) -> None:
    here = getattr(bench.verify(), name[:-1])
    with pytest.raises(errors.PlatformRefused):
        bench.with_policy(**{name: frozenset({"f" * digits})}).verify()
    bench.with_policy(**{name: frozenset({"f" * digits, here.upper()})}).verify()


# Order, time


def test_cheap_lies_are_named_only_after_signatures_hold(bench: Any) -> None:
    quote = bench.quote(mrenclave="ac" * 32, report_data=bytes(64), isv_svn=0)
    with pytest.raises(errors.ReportDataMismatch):
        bench.verify(quote)
    with pytest.raises(errors.QuoteUnverified):
        bench.verify(flip(quote, 440))


@pytest.mark.parametrize("now", [-1, True, 1.8e9, None])
def test_time_is_an_integer_argument(bench: Any, now: Any) -> None:
    with pytest.raises(errors.InvalidInput):
        verify_quote(
            bench.quote(),
            bench.platform.collateral,
            policy=bench.policy,
            report_data=bench.report_data,
            anchor=bench.anchor,
            now=now,
        )


def test_every_refusal_carries_a_hint(bench: Any, other_bench: Any) -> None:
    attempts: list[tuple[Any, dict[str, Any]]] = [
        (bench.quote() + b"x", {}),
        (other_bench.quote(), {}),
        (flip(bench.quote(), 440), {}),
        (bench.quote(debug=True), {}),
        (bench.quote(report_data=bytes(64)), {}),
        (bench.quote(mrenclave="ac" * 32), {}),
        (bench.quote(), {"now": 0}),
    ]
    for quote, arguments in attempts:
        with pytest.raises(errors.AttestationError) as caught:
            bench.verify(quote, **arguments)
        assert caught.value.hint


def test_policy_for_one_platform_accepts_no_other_platform_of_the_same_root(bench: Any) -> None:
    """A second machine: its own PCK key under another root can't borrow the first one's policy."""
    second = SimulatedPlatform.generate(now=bench.now)
    ppid = bench.verify().ppid
    policy = EnclavePolicy(mrenclave="ab" * 32, ppids=frozenset({ppid}))
    with pytest.raises(errors.PlatformRefused):
        verify_quote(
            second.quote(
                bench.report_data,
                mrenclave="ab" * 32,
                mrsigner=second.mrsigner,
                isv_prod_id=0,
                isv_svn=0,
            ),
            second.collateral,
            policy=policy,
            report_data=bench.report_data,
            anchor=TrustAnchor.insecure_simulation(second.anchor_pem),
            now=bench.now + 1,
        )
