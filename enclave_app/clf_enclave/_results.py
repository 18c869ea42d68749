"""Seal outputs to their recipients and put them to the owners (docs/protocol.md §10)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from clf_enclave._operations import Output
from clf_enclave._session import OpenSession, RunIdentity
from clf_enclave._transport import control_channel
from clf_sdk.keys import KEY_BYTES, PublicKey, derive_output_key
from clf_sdk.operations import output_recipients, parameters_of
from clf_sdk.protocol import (
    RESULT_SIGNATURE,
    ReleaseShare,
    ResultEnvelope,
    ResultSubmission,
    SealedMessage,
    SignedResult,
    result_key_info,
    share_delivery_info,
    share_info,
)
from clf_sdk.sealed import TableSealer, as_record_batches, seal_document


@dataclass(frozen=True)
class SealedOutput:
    """An output: what every owner gets, and what only those get who review.

    Attributes
    ----------
    signed
        Envelope and signature.
    objects
        Ciphertext by name.
    shares
        Share of the output's key by server id.
    """

    signed: SignedResult
    objects: Mapping[str, bytes]
    shares: Mapping[str, ReleaseShare]


@dataclass(frozen=True)
class _Ciphertext:
    kind: str
    shape: list[int] | None
    version: str
    objects: dict[str, bytes]


def _seal_table(name: str, table: pa.Table, key: bytes, version_id: str) -> _Ciphertext:
    batches = as_record_batches(table)
    sealer = TableSealer(table=name, schema=batches.schema, table_key=key, version_id=version_id)
    objects = {str(n): bytes(sealer.seal(n, batch)) for n, batch in enumerate(batches)}
    sealed = sealer.finish()
    return _Ciphertext(
        "table",
        [table.num_rows, table.num_columns],
        sealed.version,
        {"manifest": sealed.sealed, **objects},
    )


def _seal(name: str, output: Output, key: bytes, version_id: str) -> _Ciphertext:
    if isinstance(output, pa.Table):
        return _seal_table(name, output, key, version_id)
    sealed, version = seal_document(output, output=name, output_key=key, version_id=version_id)
    return _Ciphertext("document", None, version, {"document": sealed})


def _seal_output(
    identity: RunIdentity,
    name: str,
    output: Output,
    *,
    outputs: Sequence[str],
    reviewers: Sequence[str],
) -> SealedOutput:
    recipients = [
        (recipient.digest, PublicKey.from_document(recipient.hpke.to_json()))
        for recipient in output_recipients(identity.job, parameters_of(identity.job), name)
    ]
    job, version_id = identity.job.digest, secrets.token_hex(16)
    base = secrets.token_bytes(KEY_BYTES)
    parts = {server: secrets.token_bytes(KEY_BYTES) for server in reviewers}
    key = derive_output_key(base, list(parts.values()), version_id)
    ciphertext = _seal(name, output, key, version_id)
    keys = []
    for recipient, public in recipients:
        info = result_key_info(
            run=identity.run,
            job=job,
            output=name,
            version=ciphertext.version,
            recipient=recipient,
        )
        keys.append(SealedMessage(**public.seal(base, info=info)))
    envelope = ResultEnvelope.parse(
        {
            "clf": 1,
            "type": "result",
            "run": identity.run,
            "job": job,
            "mode": identity.provider.mode,
            "output": name,
            "outputs": list(outputs),
            "kind": ciphertext.kind,
            "shape": ciphertext.shape,
            "version_id": version_id,
            "version": ciphertext.version,
            "objects": {key: len(data) for key, data in ciphertext.objects.items()},
            "reviewers": list(reviewers),
            "keys": [sealed.to_json() for sealed in keys],
        }
    )
    shares = {
        server: ReleaseShare(
            clf=1,
            type="release-share",
            run=identity.run,
            job=job,
            output=name,
            version=ciphertext.version,
            server=server,
            keys=[
                SealedMessage(
                    **public.seal(
                        part, info=share_info(envelope, server=server, recipient=recipient)
                    )
                )
                for recipient, public in recipients
            ],
        )
        for server, part in parts.items()
    }
    signature = identity.signing.sign(RESULT_SIGNATURE, envelope.to_json())
    signed = SignedResult(envelope=envelope, signature=signature)
    return SealedOutput(signed, ciphertext.objects, shares)


def seal_outputs(
    identity: RunIdentity, outputs: Mapping[str, Output], *, reviewers: Sequence[str]
) -> list[SealedOutput]:
    """Seal every output of a run to the job's recipients, once, for all owners alike.

    Parameters
    ----------
    identity
        The run.
    outputs
        Outputs by name.
    reviewers
        Server ids of the owners without whose release no recipient may open them.
    """
    names = list(outputs)
    return [
        _seal_output(identity, name, output, outputs=names, reviewers=sorted(reviewers))
        for name, output in outputs.items()
    ]


def _submission(session: OpenSession, output: SealedOutput) -> ResultSubmission:
    """Return what one owner gets; its share travels under the key that it signed.

    Whoever carries the connection may hold the other end of its TLS: he must not learn the share,
    because a recipient could open it without the owner's release.
    """
    envelope, server = output.signed.envelope, session.session.server
    share = output.shares.get(server)
    sealed = None
    if share is not None:
        info = share_delivery_info(envelope, server=server, session=session.session.session)
        key = PublicKey.from_document(session.access.results.key.to_json())
        sealed = SealedMessage(**key.seal(share.canonical(), info=info))
    return ResultSubmission(envelope=envelope, signature=output.signed.signature, share=sealed)


def put_outputs(session: OpenSession, outputs: Sequence[SealedOutput]) -> None:
    """Put all outputs to one owner's server.

    Raises
    ------
    TicketRefused
        The session's result ticket has expired.
    Conflict
        The server has other results of this run.
    PolicyRefused
        The owner demands a review that the outputs were not sealed for.
    """
    ticket = session.access.results.ticket
    headers = {"Authorization": f"CLF-Ticket {ticket}", "Content-Type": "application/octet-stream"}
    with control_channel(session.endpoint) as channel:
        for output in outputs:
            envelope = output.signed.envelope
            base = f"/v1/results/{envelope.run}/{envelope.output}"
            for name, data in output.objects.items():
                channel.call("PUT", f"{base}/{envelope.version_id}/{name}", data, headers)
            channel.call(
                "POST",
                base,
                _submission(session, output).canonical(),
                {**headers, "Content-Type": "application/json"},
            )
