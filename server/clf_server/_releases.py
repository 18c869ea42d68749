"""Release: an owner decides whether recipients may open an output (docs/protocol.md §10.4)."""

from __future__ import annotations

from clf_sdk.errors import Conflict, NotFound, ReleasePending, ReleaseRefused
from clf_sdk.protocol import HeldResult, ReleaseDecision, ReleaseShare, ReleaseStatus
from clf_server._access import Principal
from clf_server._metadata import StoredResult
from clf_server._results import Results, held_result
from clf_server._state import ServerState


class Releases:
    """The shares that this owner keeps, and its decisions on them."""

    def __init__(self, state: ServerState, results: Results) -> None:
        self._state = state
        self._results = results

    def list(self) -> list[HeldResult]:
        """Return all outputs that wait for a decision or were decided on."""
        return [held_result(stored) for stored in self._state.metadata.reviewed()]

    def _find(self, run: str, output: str, principal: Principal) -> StoredResult:
        for stored in self._results.visible(run, principal):
            if stored.output == output and stored.release != "at_once":
                return stored
        raise NotFound(
            "there is no such output that this owner reviews", hint="`clf release list` shows them"
        )

    def decide(
        self, run: str, output: str, decision: ReleaseDecision, principal: Principal
    ) -> HeldResult:
        """Release an output, or refuse it for good.

        A refusal destroys the share; after a release it stops those who have not fetched it yet.

        Raises
        ------
        NotFound
            This owner reviews no such output.
        Conflict
            It was decided before.
        """
        state, stored = self._state, self._find(run, output, principal)
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
                    "by": principal.label,
                    "reason": decision.reason,
                }
                event = "release.approved" if status == "released" else "release.refused"
                state.audit.append(event, entry, connection=connection)
        return held_result(self._find(run, output, principal))

    def share(self, run: str, output: str, principal: Principal) -> ReleaseShare:
        """Return the share of a released output, sealed for its recipients.

        Who asks before the release stands in the audit log.

        Raises
        ------
        NotFound
            This owner reviews no such output, or it is not for this person.
        ReleasePending
            The owner has not decided yet.
        ReleaseRefused
            The owner refused.
        """
        stored = self._find(run, output, principal)
        if stored.release == "released" and stored.share is not None:
            return ReleaseShare.parse(stored.share)
        error = self._withheld(stored)
        details = {"run": run, "job": stored.job, "output": output, "by": principal.label}
        cause = {"code": error.code, "analyst": principal.analyst}
        self._state.refusals.record("share.refused", details, cause=cause)
        raise error

    def _withheld(self, stored: StoredResult) -> ReleasePending | ReleaseRefused:
        name, output = self._state.config.name, stored.output
        if stored.release == "pending":
            return ReleasePending(
                f"{name} has yet to release output {output!r}", hint="ask the owner to review it"
            )
        return ReleaseRefused(
            f"{name} refused to release output {output!r}: {stored.reason or 'no reason given'}",
            hint="a refusal is for good; agree with the owner and run the job again",
        )
