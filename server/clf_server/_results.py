"""Results: an attested run puts sealed outputs, people fetch them (docs/protocol.md §10)."""

from __future__ import annotations

import base64
import threading
from dataclasses import dataclass, field

from clf_sdk.errors import (
    Malformed,
    NotFound,
    PolicyRefused,
    SignatureInvalid,
    TicketRefused,
    TooLarge,
)
from clf_sdk.keys import verify_signature
from clf_sdk.protocol import (
    RESULT_SIGNATURE,
    HeldResult,
    ReleaseShare,
    ResultEnvelope,
    ResultSubmission,
    RunList,
    RunResults,
    RunSummary,
    parse_json,
    share_delivery_info,
)
from clf_server._metadata import StoredResult
from clf_server._objects import ObjectWriter
from clf_server._state import ServerState
from clf_server._tickets import LIFETIME_SECONDS, Ticket
from clf_server._vault import DOCUMENT_NAME, MANIFEST_NAME

MOST_OBJECT_BYTES = 64 << 20
_MOST_OUTPUT_BYTES = 16 << 30
_MOST_OPEN = 256


@dataclass
class _Staged:
    """An output of which objects have arrived and the envelope has not."""

    run: str
    output: str
    writer: ObjectWriter
    dies: float
    sizes: dict[str, int] = field(default_factory=dict)


class Results:
    """Outputs that arrive, and outputs that are there."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._staged: dict[str, _Staged] = {}
        self._lock = threading.Lock()

    def _check(self, secret: str, run: str) -> Ticket:
        ticket = self._state.tickets.check_for_run(secret, run)
        self._state.grants.check(ticket)
        return ticket

    def _sweep(self, now: float) -> None:
        """Delete what was staged and never finished."""
        with self._lock:
            dead = [key for key, staged in self._staged.items() if staged.dies <= now]
            for key in dead:
                self._staged.pop(key).writer.discard()

    def put(
        self,
        secret: str,
        *,
        run: str,
        output: str,
        version_id: str,
        name: str,
        data: bytes,
    ) -> None:
        """Store one object of an output.

        Raises
        ------
        TicketRefused
            The ticket is not for this run.
        AccessDenied
            The owner has stopped the run, or another enclave carries it now.
        Conflict
            The version id is in use.
        TooLarge
            The output exceeds its limit.
        """
        self._check(secret, run)
        if name not in (MANIFEST_NAME, DOCUMENT_NAME) and not (name.isascii() and name.isdigit()):
            raise Malformed(
                "an object is called 'manifest', 'document' or by the number of its row group"
            )
        now = self._state.monotonic()
        self._sweep(now)
        with self._lock:
            staged = self._staged.get(version_id)
            if staged is None:
                if len(self._staged) >= _MOST_OPEN:
                    raise TooLarge("too many results are arriving at once", hint="try again later")
                writer = self._state.objects.writer(version_id)
                staged = _Staged(run, output, writer, now + LIFETIME_SECONDS)
                self._staged[version_id] = staged
            if (staged.run, staged.output) != (run, output):
                raise TicketRefused("the version id belongs to another result")
            if sum(staged.sizes.values()) + len(data) > _MOST_OUTPUT_BYTES:
                raise TooLarge("the output exceeds the server's limit")
            staged.sizes[name] = len(data)
            staged.dies = now + LIFETIME_SECONDS
            staged.writer.write(name, data)

    def finish(self, secret: str, *, run: str, output: str, submission: ResultSubmission) -> None:
        """Check an envelope against the session and the stored objects, and show the output.

        Raises
        ------
        TicketRefused
            The envelope is not of this session's run and job, or not signed by its enclave.
        PolicyRefused
            The owner demands a review, and the output was not sealed for one.
        AccessDenied
            The owner has stopped the run, or another enclave carries it now.
        Malformed
            The stored objects are not those that the envelope names, or the share is not of it.
        Conflict
            The run has another output of that name.
        """
        ticket = self._check(secret, run)
        envelope = submission.envelope
        if (envelope.run, envelope.job, envelope.mode, envelope.output) != (
            ticket.run,
            ticket.job,
            ticket.mode,
            output,
        ):
            raise TicketRefused("the envelope is of another run, job, mode or output")
        try:
            verify_signature(
                ticket.enclave, RESULT_SIGNATURE, envelope.to_json(), submission.signature
            )
        except SignatureInvalid as error:
            raise TicketRefused("the envelope is not signed by the enclave of this run") from error
        share = self._share(ticket, submission)
        with self._lock:
            staged = self._staged.pop(envelope.version_id, None)
            if staged is None:
                self._check_known(envelope)
                return
            with staged.writer as writer:
                if staged.sizes != envelope.objects or staged.run != run:
                    raise Malformed("the stored objects are not those that the envelope names")
                writer.commit()
                try:
                    self._show(ticket, submission, share)
                except BaseException:
                    writer.discard()
                    raise

    def _share(self, ticket: Ticket, submission: ResultSubmission) -> ReleaseShare | None:
        """Open this owner's share of an output's key, if it has one."""
        envelope, server = submission.envelope, self._state.server_id
        if server not in envelope.reviewers:
            if ticket.review:
                raise PolicyRefused(
                    "the owner demands to review results, and this one was sealed without that",
                    rule="release",
                    hint="the policy changed while the job ran; run it again",
                )
            if submission.share is not None:
                raise Malformed("a share came for an owner who does not review the output")
            return None
        if submission.share is None:
            raise Malformed("the share of an owner who reviews the output is missing")
        info = share_delivery_info(envelope, server=server, session=ticket.session)
        opened = self._state.release_key.open(submission.share.to_json(), info=info)
        share = ReleaseShare.parse(parse_json(opened, what="share"))
        if (share.run, share.job, share.output, share.version, share.server) != (
            envelope.run,
            envelope.job,
            envelope.output,
            envelope.version,
            server,
        ) or len(share.keys) != len(envelope.keys):
            raise Malformed("the share is not one of this output for this owner")
        return share

    def _check_known(self, envelope: ResultEnvelope) -> None:
        """Accept an output that was put before; refuse one whose objects never came."""
        for stored in self._state.metadata.results(envelope.run):
            if stored.envelope == envelope.to_json():
                return
        raise Malformed("the objects that the envelope names are not here", hint="put them again")

    def _show(
        self, ticket: Ticket, submission: ResultSubmission, share: ReleaseShare | None
    ) -> None:
        envelope, signature = submission.envelope, submission.signature
        state = self._state
        result = StoredResult(
            run=envelope.run,
            output=envelope.output,
            version_id=envelope.version_id,
            job=envelope.job,
            envelope=envelope.to_json(),
            signature=base64.b64encode(signature).decode(),
            created_at=state.now(),
            release="at_once" if share is None else "pending",
            share=None if share is None else share.to_json(),
        )
        with state.metadata.transaction() as connection:
            state.grants.check_now(connection, ticket)
            if not state.metadata.add_result(connection, result):
                return
            stored = {
                "run": envelope.run,
                "job": envelope.job,
                "output": envelope.output,
                "version": envelope.version,
                "sealed_bytes": sum(envelope.objects.values()),
                "release": result.release,
            }
            state.audit.append("result.stored", stored, connection=connection)

    def list(self, run: str) -> RunResults:
        """Return the envelopes of all outputs of a run, and what the owner decided on each."""
        found = self._state.metadata.results(run)
        return RunResults(run=run, outputs=[held_result(stored) for stored in found])

    def runs(self, job: str) -> RunList:
        """Return the runs of a job that left results here."""
        return RunList(
            runs=[
                RunSummary(run=stored.run, job=stored.job, created_at=stored.created_at)
                for stored in self._state.metadata.runs(job)
            ]
        )

    def version_id(self, run: str, output: str) -> str:
        """Return the version id of an output.

        Raises
        ------
        NotFound
            The run has no such output here.
        """
        for stored in self._state.metadata.results(run):
            if stored.output == output:
                return stored.version_id
        raise NotFound("the run has no such output on this server")


def held_result(stored: StoredResult) -> HeldResult:
    """Describe an output as this server holds it."""
    return HeldResult.parse(
        {
            "envelope": stored.envelope,
            "signature": stored.signature,
            "created_at": stored.created_at,
            "release": stored.release,
            "decided_at": stored.decided_at,
            "reason": stored.reason,
        }
    )
