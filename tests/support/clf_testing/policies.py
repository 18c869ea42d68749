"""Policies of every kind, for properties."""

from __future__ import annotations

import datetime as dt

from hypothesis import strategies as st

import clf_sdk as clf
from clf_sdk.attestation import EnclavePolicy

IDENTITIES = tuple(f"{number}a" * 32 for number in range(3))
DIGESTS = tuple(f"{number}d" * 32 for number in range(3))
OPERATIONS = ("describe", "glm", "kmeans", "private_statistics")
COLUMNS = ("age", "country", "income")
CONDITIONS = ("age >= 18", "country = 'DE'", "income < 1000")
MOMENTS = tuple(dt.datetime(year, 1, 1, tzinfo=dt.UTC) for year in (2027, 2028, 2029))


def _some(values: tuple[str, ...]) -> st.SearchStrategy[frozenset[str]]:
    return st.frozensets(st.sampled_from(values), min_size=1)


ENCLAVES = st.builds(
    EnclavePolicy,
    mrenclave=st.sampled_from(["ab" * 32, "cd" * 32]),
    mrsigner=st.none() | st.just("ef" * 32),
    isv_prod_id=st.none() | st.integers(1, 2),
    min_isv_svn=st.none() | st.integers(1, 3),
    tcb_statuses=_some(("UpToDate", "OutOfDate")),
    refused_advisories=st.frozensets(st.sampled_from(["INTEL-SA-00001", "INTEL-SA-00002"])),
    fmspcs=st.none() | _some(("00" * 6, "11" * 6)),
    max_collateral_age_days=st.none() | st.integers(1, 3),
)
POLICIES = (
    st.tuples(st.none() | _some(OPERATIONS), st.none() | _some(DIGESTS))
    .filter(any)
    .flatmap(
        lambda named: st.builds(
            clf.Policy,
            enclave=ENCLAVES,
            operations=st.just(named[0]),
            jobs=st.just(named[1]),
            analysts=st.none() | _some(IDENTITIES),
            columns=st.none() | _some(COLUMNS),
            rows=st.none() | _some(CONDITIONS).map(lambda parts: " AND ".join(sorted(parts))),
            runs=st.integers(1, 3),
            expires=st.none() | st.sampled_from(MOMENTS),
            smallest_group=st.integers(1, 3),
            entity=st.none() | st.sampled_from(COLUMNS),
            dominance=st.none() | st.tuples(st.integers(1, 3), st.sampled_from([50, 75])),
            round_counts=st.sampled_from([1, 2, 3, 6]),
            output_rows=st.none() | st.integers(1, 3),
            output_bytes=st.none() | st.integers(1, 3),
            differencing=st.sampled_from(["off", "review", "refuse"]),
            privacy_budget=st.none() | st.sampled_from([0.5, 1.0, 2.0]),
            row_level=st.frozensets(st.sampled_from(IDENTITIES)),
            release=st.sampled_from(["at_once", "review"]),
            approval=st.sampled_from(["ask", "automatic"]),
        )
    )
)
