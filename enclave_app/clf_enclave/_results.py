"""Seal outputs to their recipients and put them to the owners (docs/protocol.md §10)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from clf_enclave._session import OpenSession, RunIdentity
from clf_enclave._transport import control_channel
from clf_sdk.keys import KEY_BYTES, PublicKey
from clf_sdk.protocol import (
    RESULT_SIGNATURE,
    ResultEnvelope,
    SealedMessage,
    SignedResult,
    result_key_info,
)
from clf_sdk.sealed import TableSealer, as_record_batches


@dataclass(frozen=True)
class SealedOutput:
    """An output as every owner gets it: signed envelope and ciphertext objects by name."""

    signed: SignedResult
    objects: Mapping[str, bytes]


def _seal_output(
    identity: RunIdentity, name: str, table: pa.Table, outputs: Sequence[str]
) -> SealedOutput:
    job = identity.job.digest
    table_key, version_id = secrets.token_bytes(KEY_BYTES), secrets.token_hex(16)
    batches = as_record_batches(table)
    sealer = TableSealer(
        table=name, schema=batches.schema, table_key=table_key, version_id=version_id
    )
    objects = {
        str(number): bytes(sealer.seal(number, batch)) for number, batch in enumerate(batches)
    }
    sealed = sealer.finish()
    keys = []
    for recipient in identity.job.recipients:
        info = result_key_info(
            run=identity.run,
            job=job,
            output=name,
            version=sealed.version,
            recipient=recipient.digest,
        )
        public = PublicKey.from_document(recipient.hpke.to_json())
        keys.append(SealedMessage(**public.seal(table_key, info=info)))
    envelope = ResultEnvelope(
        clf=1,
        type="result",
        run=identity.run,
        job=job,
        mode=identity.provider.mode,
        output=name,
        outputs=list(outputs),
        version_id=version_id,
        version=sealed.version,
        manifest_bytes=len(sealed.sealed),
        row_groups=[group.bytes for group in sealed.manifest.row_groups],
        keys=keys,
    )
    signature = identity.signing.sign(RESULT_SIGNATURE, envelope.to_json())
    return SealedOutput(
        SignedResult(envelope=envelope, signature=signature),
        {"manifest": sealed.sealed, **objects},
    )


def seal_outputs(identity: RunIdentity, tables: Mapping[str, pa.Table]) -> list[SealedOutput]:
    """Seal every output of a run to the job's recipients, once, for all owners alike."""
    names = list(tables)
    return [_seal_output(identity, name, table, names) for name, table in tables.items()]


def put_outputs(session: OpenSession, outputs: Sequence[SealedOutput]) -> None:
    """Put all outputs to one owner's server.

    Raises
    ------
    TicketRefused
        The session's result ticket has expired.
    Conflict
        The server has other results of this run.
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
                output.signed.canonical(),
                {**headers, "Content-Type": "application/json"},
            )
