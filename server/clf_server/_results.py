"""Results: an attested run puts sealed outputs, people fetch them (docs/protocol.md §10)."""

from __future__ import annotations

import base64
import threading

from clf_sdk.errors import (
    Malformed,
    NotFound,
    PolicyRefused,
    SignatureInvalid,
    StorageUnavailable,
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
from clf_server._access import Principal
from clf_server._memory import Memory
from clf_server._metadata import StoredResult
from clf_server._objects import ObjectWriter
from clf_server._parties import may_see
from clf_server._result_ledger import MemoryResults, ResultLedger, SharedResults
from clf_server._state import ServerState
from clf_server._ticket_audit import logging_refusals
from clf_server._tickets import Ticket, check_for_run
from clf_server._vault import DOCUMENT_NAME, MANIFEST_NAME

MOST_OBJECT_BYTES = 64 << 20
_MOST_OBJECTS = 65_536


class Results:
    """Outputs that arrive, and outputs that are there."""

    def __init__(self, state: ServerState, memory: Memory) -> None:
        self._state = state
        self._memory = memory
        self._ledger: ResultLedger = (
            SharedResults(state.metadata, state.clock)
            if state.metadata.shared
            else MemoryResults(state.monotonic)
        )
        self._writers: dict[str, ObjectWriter] = {}  # by version id, in a directory of our own
        self._lock = threading.Lock()

    def _check(self, secret: str, run: str) -> Ticket:
        ticket = check_for_run(self._state.tickets, secret, run)
        self._state.grants.check(ticket)
        return ticket

    def check_session(self, secret: str, session: str) -> None:
        """Check that a run may go on, for the enclave that computes it (§8, between 11 and 12).

        Raises
        ------
        TicketRefused
            The ticket is not of this session, or has ended.
        AccessDenied
            The owner has stopped the run, or another enclave carries it now.
        """
        ticket = self._state.tickets.check(secret)
        if not ticket.takes_results or ticket.session != session:
            raise TicketRefused("the ticket is not for the results of this session")
        self._state.grants.check(ticket)

    def _sweep(self) -> None:
        """Delete what was staged and never finished."""
        for version_id in self._ledger.expire():
            writer = self._writer_of(version_id)
            if writer is not None:
                writer.discard()

    def _writer_of(self, version_id: str) -> ObjectWriter | None:
        """Return what wrote an output that ends; None when nobody did."""
        if self._state.objects.remote:
            return self._state.objects.writer(version_id)
        return self._writers.pop(version_id, None)

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
        with logging_refusals(self._state, "result.refused", run=run, output=output):
            self._put(secret, run, output, version_id, name, data)

    def _put(
        self, secret: str, run: str, output: str, version_id: str, name: str, data: bytes
    ) -> None:
        self._check(secret, run)
        if name not in (MANIFEST_NAME, DOCUMENT_NAME) and not (name.isascii() and name.isdigit()):
            raise Malformed(
                "an object is called 'manifest', 'document' or by the number of its row group"
            )
        if name.isdigit() and int(name) >= _MOST_OBJECTS:
            raise TooLarge(f"an output has at most {_MOST_OBJECTS:,} row groups")
        if version_id not in self._writers and self._is_visible(run, output, version_id):
            return  # it came before, and the enclave did not hear that it had
        if self._state.objects.remote:
            self._sweep()
            self._ledger.note(version_id, run=run, output=output, size_bytes=len(data))
            self._state.objects.writer(version_id).write(name, data)
            return
        with self._lock:
            self._sweep()
            self._ledger.note(version_id, run=run, output=output, size_bytes=len(data))
            if version_id not in self._writers:
                try:
                    self._writers[version_id] = self._state.objects.writer(version_id)
                except BaseException:
                    self._ledger.take(version_id)
                    raise
            self._writers[version_id].write(name, data)

    def _is_visible(self, run: str, output: str, version_id: str) -> bool:
        return any(
            (stored.output, stored.version_id) == (output, version_id)
            for stored in self._state.metadata.results(run)
        )

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
        with logging_refusals(self._state, "result.refused", run=run, output=output):
            self._finish(secret, run, output, submission)

    def _finish(self, secret: str, run: str, output: str, submission: ResultSubmission) -> None:
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
        _check_size(ticket, envelope)
        share = self._share(ticket, submission)
        with self._lock:
            staged_run = self._ledger.take(envelope.version_id)
            writer = None if staged_run is None else self._writer_of(envelope.version_id)
            if writer is None:
                self._check_known(envelope)
                return
            with writer:
                sizes = self._state.objects.sizes(envelope.version_id)
                if sizes != envelope.objects or staged_run != run:
                    raise Malformed("the stored objects are not those that the envelope names")
                writer.commit()
                try:
                    self._show(ticket, submission, share)
                except StorageUnavailable:
                    raise  # it may be visible: nobody deletes what the database may name
                except BaseException:
                    writer.discard()
                    raise

    def _share(self, ticket: Ticket, submission: ResultSubmission) -> ReleaseShare | None:
        """Open this owner's share of an output's key, if it has one."""
        envelope = submission.envelope
        mine = self._state.identities.known().intersection(envelope.reviewers)
        if len(mine) > 1:
            raise Malformed("the output names this server by two of its identities")
        server = next(iter(mine), None)
        if server is None:
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
            self._memory.check_told(connection, ticket, shared=share is not None)
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

    def visible(self, run: str, principal: Principal) -> list[StoredResult]:
        """Return the outputs of a run that somebody may see: all, or none."""
        found = self._state.metadata.results(run)
        return found if found and may_see(self._state, principal, found[0].job) else []

    def list(self, run: str, principal: Principal) -> RunResults:
        """Return the envelopes of all outputs of a run, and what the owner decided on each."""
        found = self.visible(run, principal)
        return RunResults(run=run, outputs=[held_result(stored) for stored in found])

    def runs(self, job: str, principal: Principal) -> RunList:
        """Return the runs of a job that left results here."""
        found = self._state.metadata.runs(job)
        if not may_see(self._state, principal, job):
            found = []
        return RunList(
            runs=[
                RunSummary(run=stored.run, job=stored.job, created_at=stored.created_at)
                for stored in found
            ]
        )

    def version_id(self, run: str, output: str, principal: Principal) -> str:
        """Return the version id of an output.

        Raises
        ------
        NotFound
            The run has no such output here, or not for this person.
        """
        for stored in self.visible(run, principal):
            if stored.output == output:
                return stored.version_id
        raise NotFound("the run has no such output on this server")


def _check_size(ticket: Ticket, envelope: ResultEnvelope) -> None:
    """Check what the program should have checked before it sealed."""
    rows = 0 if envelope.shape is None else envelope.shape[0]
    sizes = {"output_rows": rows, "output_bytes": sum(envelope.objects.values())}
    for rule, found in sizes.items():
        most = getattr(ticket, rule)
        if most is not None and found > most:
            raise PolicyRefused(
                f"output {envelope.output!r} is larger than the owner allows",
                rule=rule,
                hint="the policy changed while the job ran; run it again",
            )


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
