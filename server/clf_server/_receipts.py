"""Receipts: one for each run, put by its enclave (docs/protocol.md §10.1)."""

from __future__ import annotations

import sqlalchemy as sa

from clf_sdk.errors import Conflict, NotFound, ReceiptMismatch
from clf_sdk.receipt import SignedReceipt, check_receipt
from clf_server._access import Principal
from clf_server._database import SCHEMA
from clf_server._results import Results
from clf_server._state import ServerState
from clf_server._ticket_audit import logging_refusals
from clf_server._tickets import Ticket, check_for_run

_receipts = sa.Table(
    "receipts",
    SCHEMA,
    sa.Column("run", sa.String(32), primary_key=True),
    sa.Column("receipt", sa.LargeBinary, nullable=False),  # the file, byte for byte
    sa.Column("created_at", sa.BigInteger, nullable=False),
)


class Receipts:
    """The receipts that a server holds."""

    def __init__(self, state: ServerState, results: Results) -> None:
        self._state = state
        self._results = results

    def put(self, secret: str, *, run: str, data: bytes) -> None:
        """Store the receipt of a run whose outputs are here; the same one again is the first one.

        Raises
        ------
        TicketRefused
            The ticket is not for this run.
        AccessDenied
            The owner has stopped the run, or another enclave carries it now.
        FormatError, SignatureInvalid, ReceiptError, BindingMismatch, ServerIdentityMismatch
            It is not a receipt whose parts agree and whose owners signed theirs.
        ReceiptMismatch
            It is of another run, job, enclave or result.
        Conflict
            The run has another receipt.
        """
        with logging_refusals(self._state, "receipt.refused", run=run, output="receipt"):
            self._put(secret, run, data)

    def _put(self, secret: str, run: str, data: bytes) -> None:
        ticket = check_for_run(self._state.tickets, secret, run)
        receipt = SignedReceipt.parse(data)
        check_receipt(receipt)
        predicate = receipt.predicate
        if (predicate.run, predicate.job.digest, predicate.mode, receipt.signing_key) != (
            ticket.run,
            ticket.job,
            ticket.mode,
            ticket.enclave,
        ):
            raise ReceiptMismatch("the receipt is of another run, job, mode or enclave")
        here = {
            stored.output: stored.envelope["version"]
            for stored in self._state.metadata.results(run)
        }
        if here != {output.name: output.version for output in predicate.outputs}:
            raise ReceiptMismatch(
                "the receipt names other outputs than this server holds",
                hint="put all outputs of the run first",
            )
        self._store(ticket, receipt)

    def _store(self, ticket: Ticket, receipt: SignedReceipt) -> None:
        state, run = self._state, receipt.predicate.run
        with state.metadata.transaction() as connection:
            state.grants.check_now(connection, ticket)
            query = sa.select(_receipts.c.receipt).where(_receipts.c.run == run)
            stored = connection.execute(query).scalar()
            if stored == receipt.data:
                return
            if stored is not None:
                raise Conflict(
                    f"run {run} has another receipt already",
                    hint="a run has one receipt; start a new run",
                )
            connection.execute(
                sa.insert(_receipts).values(run=run, receipt=receipt.data, created_at=state.now())
            )
            details = {"run": run, "job": receipt.predicate.job.digest, "receipt": receipt.digest}
            state.audit.append("receipt.stored", details, connection=connection)

    def get(self, run: str, principal: Principal) -> bytes:
        """Return the receipt of a run, byte for byte.

        Raises
        ------
        NotFound
            There is none, or not for this person.
        """
        stored = None
        if self._results.visible(run, principal):
            with self._state.metadata.reading() as connection:
                query = sa.select(_receipts.c.receipt).where(_receipts.c.run == run)
                stored = connection.execute(query).scalar()
        if stored is None:
            raise NotFound(
                "there is no receipt of this run on this server",
                hint="an enclave puts it when all outputs are delivered",
            )
        return bytes(stored)
