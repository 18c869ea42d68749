"""Results: an attested run puts sealed outputs, people fetch them (docs/protocol.md §10)."""

from __future__ import annotations

import base64
import threading
from dataclasses import dataclass, field

from clf_sdk.errors import Malformed, NotFound, SignatureInvalid, TicketRefused, TooLarge
from clf_sdk.keys import verify_signature
from clf_sdk.protocol import RESULT_SIGNATURE, ResultEnvelope, RunResults, SignedResult
from clf_server._metadata import StoredResult
from clf_server._objects import ObjectWriter
from clf_server._state import ServerState
from clf_server._tickets import LIFETIME_SECONDS
from clf_server._vault import MANIFEST_NAME

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
        Conflict
            The version id is in use.
        TooLarge
            The output exceeds its limit.
        """
        self._state.tickets.check_for_run(secret, run)
        if name != MANIFEST_NAME and not (name.isascii() and name.isdigit()):
            raise Malformed("an object is called 'manifest' or by the number of its row group")
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

    def finish(self, secret: str, *, run: str, output: str, signed: SignedResult) -> None:
        """Check an envelope against the session and the stored objects, and show the output.

        Raises
        ------
        TicketRefused
            The envelope is not of this session's run and job, or not signed by its enclave.
        Malformed
            The stored objects are not those that the envelope names.
        Conflict
            The run has another output of that name.
        """
        ticket = self._state.tickets.check_for_run(secret, run)
        envelope = signed.envelope
        if (envelope.run, envelope.job, envelope.mode, envelope.output) != (
            ticket.run,
            ticket.job,
            ticket.mode,
            output,
        ):
            raise TicketRefused("the envelope is of another run, job, mode or output")
        try:
            verify_signature(
                ticket.signing_key or b"", RESULT_SIGNATURE, envelope.to_json(), signed.signature
            )
        except SignatureInvalid as error:
            raise TicketRefused("the envelope is not signed by the enclave of this run") from error
        with self._lock:
            staged = self._staged.pop(envelope.version_id, None)
            if staged is None:
                self._check_known(envelope)
                return
            with staged.writer as writer:
                if staged.sizes != _expected(envelope) or staged.run != run:
                    raise Malformed("the stored objects are not those that the envelope names")
                writer.commit()
                try:
                    self._show(envelope, signed.signature)
                except BaseException:
                    writer.discard()
                    raise

    def _check_known(self, envelope: ResultEnvelope) -> None:
        """Accept an output that was put before; refuse one whose objects never came."""
        for stored in self._state.metadata.results(envelope.run):
            if stored.envelope == envelope.to_json():
                return
        raise Malformed("the objects that the envelope names are not here", hint="put them again")

    def _show(self, envelope: ResultEnvelope, signature: bytes) -> None:
        state = self._state
        result = StoredResult(
            run=envelope.run,
            output=envelope.output,
            version_id=envelope.version_id,
            envelope=envelope.to_json(),
            signature=base64.b64encode(signature).decode(),
            created_at=state.now(),
        )
        with state.metadata.transaction() as connection:
            if not state.metadata.add_result(connection, result):
                return
            stored = {
                "run": envelope.run,
                "job": envelope.job,
                "output": envelope.output,
                "version": envelope.version,
                "sealed_bytes": envelope.manifest_bytes + sum(envelope.row_groups),
            }
            state.audit.append("result.stored", stored, connection=connection)

    def list(self, run: str) -> RunResults:
        """Return the envelopes of all outputs of a run."""
        return RunResults(
            run=run,
            outputs=[
                SignedResult.parse({"envelope": stored.envelope, "signature": stored.signature})
                for stored in self._state.metadata.results(run)
            ],
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


def _expected(envelope: ResultEnvelope) -> dict[str, int]:
    sizes = {str(number): size for number, size in enumerate(envelope.row_groups)}
    return {MANIFEST_NAME: envelope.manifest_bytes, **sizes}
