"""The receipt of a run: made once, put to every owner (docs/protocol.md §10.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clf_enclave._results import SealedOutput
from clf_enclave._session import OpenSession, RunIdentity
from clf_enclave._transport import control_channel
from clf_sdk.attestation import parse_quote
from clf_sdk.operations import output_recipients, parameters_of
from clf_sdk.protocol import (
    DisclosureReport,
    MeasuredProgram,
    OwnerProof,
    ReceiptInput,
    ReceiptOutput,
    ReceiptPredicate,
)
from clf_sdk.receipt import SignedReceipt


def make_receipt(
    identity: RunIdentity,
    sessions: Mapping[str, OpenSession],
    outputs: Sequence[SealedOutput],
    *,
    rows: Mapping[str, int],
    aligned_rows: int | None,
    disclosure: DisclosureReport,
) -> SignedReceipt:
    """Say how the outputs came about, and sign it with the key that the quotes bind.

    Parameters
    ----------
    identity
        The run.
    sessions
        By server id, those under which each owner released its keys.
    outputs
        What every owner is about to get.
    rows
        Rows that were pulled, by input.
    aligned_rows
        Rows on which the operation worked; None: not told.
    disclosure
        The rules that were enforced.
    """
    job = identity.job
    proofs = [sessions[server] for server in job.servers()]
    quote = parse_quote(proofs[0].evidence.quote)
    parameters = parameters_of(job)
    predicate = ReceiptPredicate(
        clf=1,
        type="receipt",
        run=identity.run,
        mode=identity.provider.mode,
        job=job,
        program=MeasuredProgram(
            mrenclave=quote.mrenclave,
            mrsigner=quote.mrsigner,
            isv_prod_id=quote.isv_prod_id,
            isv_svn=quote.isv_svn,
        ),
        owners=[
            OwnerProof(
                public_key=proof.public_key,
                evidence=proof.evidence.to_json(),
                session=proof.session,
                signature=proof.signature,
            )
            for proof in proofs
        ],
        inputs=[
            _input(sessions[entry.server], entry.name, rows[entry.name]) for entry in job.inputs
        ],
        aligned_rows=aligned_rows,
        outputs=[
            ReceiptOutput(
                name=output.signed.envelope.output,
                version=output.signed.envelope.version,
                recipients=[
                    recipient.digest
                    for recipient in output_recipients(
                        job, parameters, output.signed.envelope.output
                    )
                ],
            )
            for output in outputs
        ],
        disclosure=disclosure,
    )
    return SignedReceipt.sign(predicate, identity.signing)


def _input(session: OpenSession, name: str, rows: int) -> ReceiptInput:
    granted = next(entry for entry in session.session.inputs if entry.name == name)
    return ReceiptInput(
        name=name,
        server=session.session.server,
        table=granted.table,
        version=granted.version,
        source=granted.source,
        columns=granted.columns,
        rows=rows,
    )


def put_receipt(session: OpenSession, receipt: SignedReceipt) -> None:
    """Put the receipt to one owner's server, after all outputs.

    Raises
    ------
    TicketRefused
        The session's result ticket has expired.
    Conflict
        The server has another receipt of this run.
    """
    headers = {
        "Authorization": f"CLF-Ticket {session.access.results.ticket}",
        "Content-Type": "application/octet-stream",
    }
    path = f"/v1/results/{receipt.predicate.run}/receipt"
    with control_channel(session.endpoint) as channel:
        channel.call("PUT", path, receipt.data, headers)
