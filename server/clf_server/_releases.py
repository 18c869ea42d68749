"""Release: an owner decides whether recipients may open an output (docs/protocol.md §10.4)."""

from __future__ import annotations

from clf_sdk.errors import Conflict, NotFound, ReleasePending, ReleaseRefused
from clf_sdk.protocol import HeldResult, ReleaseDecision, ReleaseShare, ReleaseStatus
from clf_server._metadata import StoredResult
from clf_server._results import held_result
from clf_server._state import ServerState


class Releases:
    """The shares that this owner keeps, and its decisions on them."""

    def __init__(self, state: ServerState) -> None:
        self._state = state

    def list(self) -> list[HeldResult]:
        """Return all outputs that wait for a decision or were decided on."""
        return [held_result(stored) for stored in self._state.metadata.reviewed()]

    def _find(self, run: str, output: str) -> StoredResult:
        for stored in self._state.metadata.results(run):
            if stored.output == output and stored.release != "at_once":
                return stored
        raise NotFound(
            "there is no such output that this owner reviews", hint="`clf release list` shows them"
        )

    def decide(self, run: str, output: str, decision: ReleaseDecision) -> HeldResult:
        """Release an output, or refuse it for good.

        A refusal destroys the share; after a release it stops those who have not fetched it yet.

        Raises
        ------
        NotFound
            This owner reviews no such output.
        Conflict
            It was decided before.
        """
        state, stored = self._state, self._find(run, output)
        status: ReleaseStatus = "released" if decision.decision == "approve" else "refused"
        if stored.release != status:
            with state.metadata.transaction() as connection:
                if not state.metadata.decide_release(
                    connection,
                    run,
                    output,
                    release=status,
                    decided_at=state.now(),
                    reason=decision.reason,
                ):
                    raise Conflict(
                        "the release of this output was refused before, and its share destroyed",
                        hint="a refusal is for good; the job must run again",
                    )
                entry = {
                    "run": run,
                    "job": stored.job,
                    "output": output,
                    "version": stored.envelope["version"],
                    "reason": decision.reason,
                }
                event = "release.approved" if status == "released" else "release.refused"
                state.audit.append(event, entry, connection=connection)
        return held_result(self._find(run, output))

    def share(self, run: str, output: str) -> ReleaseShare:
        """Return the share of a released output, sealed for its recipients.

        Raises
        ------
        NotFound
            This owner reviews no such output.
        ReleasePending
            The owner has not decided yet.
        ReleaseRefused
            The owner refused.
        """
        stored = self._find(run, output)
        if stored.release == "released" and stored.share is not None:
            return ReleaseShare.parse(stored.share)
        name = self._state.config.name
        if stored.release == "pending":
            raise ReleasePending(
                f"{name} has yet to release output {output!r}", hint="ask the owner to review it"
            )
        raise ReleaseRefused(
            f"{name} refused to release output {output!r}: {stored.reason or 'no reason given'}",
            hint="a refusal is for good; agree with the owner and run the job again",
        )
