"""A policy in plain words, rule by rule."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from clf_sdk.protocol import identity_fingerprint

if TYPE_CHECKING:
    from clf_sdk.attestation import EnclavePolicy
    from clf_sdk.policy._policy import Policy

_SHORT = 12
_MOST_LISTED = 10


def listed(values: Iterable[str], *, most: int = _MOST_LISTED) -> str:
    """Join names for a sentence, and say how many more there are."""
    names = sorted(values)
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def short(digests: Iterable[str]) -> str:
    """Join the first digits of digests for a sentence."""
    return listed(f"{digest[:_SHORT]}…" for digest in digests)


def people(identities: Iterable[str]) -> str:
    """Join the fingerprints of identities for a sentence."""
    return listed(identity_fingerprint(identity) for identity in identities)


def enclave_in_words(enclave: EnclavePolicy) -> str:
    """Say what the enclave must prove."""
    parts = []
    if enclave.mrenclave is not None:
        parts.append(f"MRENCLAVE {enclave.mrenclave[:_SHORT]}…")
    if enclave.mrsigner is not None:
        parts.append(f"MRSIGNER {enclave.mrsigner[:_SHORT]}…")
    if enclave.isv_prod_id is not None:
        parts.append(f"product {enclave.isv_prod_id}")
    if enclave.min_isv_svn is not None:
        parts.append(f"SVN at least {enclave.min_isv_svn}")
    parts.append(f"TCB {listed(enclave.tcb_statuses)}")
    if enclave.refused_advisories:
        parts.append(f"without {listed(enclave.refused_advisories)}")
    if enclave.fmspcs is not None:
        parts.append(f"FMSPC {listed(enclave.fmspcs)}")
    if enclave.ppids is not None:
        parts.append(f"on {len(enclave.ppids):,} listed machines")
    if enclave.max_collateral_age_days is not None:
        parts.append(f"collateral of the last {enclave.max_collateral_age_days} days")
    return ", ".join(parts)


def in_words(policy: Policy) -> dict[str, str]:
    """Return a sentence for each rule of a policy."""
    return {
        "enclave": enclave_in_words(policy.enclave),
        "analysts": "every analyst that the server knows"
        if policy.analysts is None
        else f"only {people(policy.analysts)}",
        "operations": "those of the named jobs"
        if policy.operations is None
        else f"only {listed(policy.operations)}",
        "jobs": "any job that the other rules allow"
        if policy.jobs is None
        else f"only {short(policy.jobs)}",
        "columns": "all columns" if policy.columns is None else f"only {listed(policy.columns)}",
        "rows": "all rows" if policy.rows is None else f"only where {policy.rows}",
        "runs": "each approved job once"
        if policy.runs == 1
        else f"each approved job {policy.runs:,} times",
        "expires": "not by date"
        if policy.expires is None
        else f"{policy.expires:%Y-%m-%d %H:%M:%S} UTC",
        "smallest_group": "no smallest group"
        if policy.smallest_group == 1
        else f"no number about fewer than {policy.smallest_group:,} people",
        "entity": "each row is one of the people"
        if policy.entity is None
        else f"people are counted by {policy.entity}",
        "dominance": "no rule for sums"
        if policy.dominance is None
        else f"no sum of which {policy.dominance.largest:,} people make up over "
        f"{policy.dominance.percent} %",
        "round_counts": "exact counts"
        if policy.round_counts == 1
        else f"counts in multiples of {policy.round_counts:,}",
        "output_rows": "any number of rows in an output"
        if policy.output_rows is None
        else f"at most {policy.output_rows:,} rows in an output",
        "output_bytes": "outputs of any size"
        if policy.output_bytes is None
        else f"at most {policy.output_bytes:,} bytes in an output",
        "differencing": {
            "off": "results are not compared with earlier ones",
            "review": "results that tell of few people beside earlier ones wait for review",
            "refuse": "no results that tell of few people beside earlier ones",
        }[policy.differencing],
        "privacy_budget": "no results with noise"
        if policy.privacy_budget is None
        else f"results with noise for ε {policy.privacy_budget:,.6g} in all",
        "row_level": f"rows of single people to {people(policy.row_level)}"
        if policy.row_level
        else "no rows of single people",
        "release": "results go out at once"
        if policy.release == "at_once"
        else "results wait for the owner's review",
        "approval": "each job asks the owner"
        if policy.approval == "ask"
        else "a job that all rules allow is approved by this policy",
    }
