"""What a whole attested session costs, against one bare verification of its quote.

``python -m benchmarks.attestation --json``. A session is what the enclave app does: a new TLS
connection, challenge, quote, session, signature and key checks, and all that the server does.
Sessions and verifications alternate.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import dcap_qvl  # type: ignore[import-untyped]  # has stubs, but no py.typed marker
import pyarrow as pa

import clf_sdk as clf
from benchmarks._owner import TABLE, Owner, running_owner
from benchmarks._report import attestation_lines, spread
from clf_enclave._program import make_provider
from clf_enclave._session import RunIdentity, open_session
from clf_sdk.attestation import EvidenceProvider, SimulatedPlatform
from clf_sdk.keys import PrivateKey, SigningKey

_WARM_UP = 20


class _Bare:
    """dcap-qvl alone, on a quote of the same platform, with everything parsed before."""

    def __init__(self, owner: Owner, provider: EvidenceProvider) -> None:
        platform = SimulatedPlatform.load(owner.simulation)
        self._quote = provider.quote(bytes(64))
        fields = json.dumps(platform.collateral.to_json())
        self._collateral = dcap_qvl.QuoteCollateralV3.from_json(fields)
        self._verifier = dcap_qvl.QuoteVerifier(platform.root_der)
        self._now = int(time.time())
        self._policy = dcap_qvl.QuotePolicy.strict(self._now)

    def verify(self) -> float:
        started = time.perf_counter()
        self._verifier.verify_with_policy(self._quote, self._collateral, self._now, self._policy)
        return time.perf_counter() - started


def run(count: int = 300) -> dict[str, Any]:
    """Measure that many sessions and verifications in turn."""
    with running_owner() as owner:
        table = pa.table({"person_id": [1, 2, 3], "visits": [0, 1, 2], "age": [30.0, 40.0, 50.0]})
        clf.share(table, name=TABLE, policy=owner.policy, to=owner.connection, progress=False)
        request = owner.request("person_id")
        identity = RunIdentity(
            run=request.run,
            job=request.job,
            hpke=PrivateKey.generate(),
            signing=SigningKey.generate(),
            provider=make_provider(owner.simulation),
        )
        (endpoint,) = request.endpoints
        bare = _Bare(owner, identity.provider)
        sessions, verifications = [], []
        for _ in range(_WARM_UP + count):
            started = time.perf_counter()
            open_session(identity, endpoint)
            sessions.append(time.perf_counter() - started)
            verifications.append(bare.verify())
    sessions, verifications = sessions[_WARM_UP:], verifications[_WARM_UP:]
    return {
        "sessions": count,
        "sessions_per_second": count / sum(sessions),
        "session_over_verification": statistics.median(sessions) / statistics.median(verifications),
        "session_seconds": spread(sessions),
        "verification_seconds": spread(verifications),
    }


def main() -> None:
    """Print JSON, or two lines."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attestation", description=__doc__)
    parser.add_argument("--sessions", type=int, default=300, help="how many count")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = parser.parse_args()
    found = run(chosen.sessions)
    print(json.dumps(found) if chosen.json else "\n".join(attestation_lines(found)))


if __name__ == "__main__":
    main()
