"""``fetch()``: collect a run's sealed outputs from all owners, and open them."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from clf_sdk._connection import Connection, connections_to
from clf_sdk._identity import Identity
from clf_sdk._result import Result
from clf_sdk._run import Run
from clf_sdk.attestation import EnclavePolicy, TrustAnchor
from clf_sdk.errors import (
    ConfigurationError,
    NotFound,
    ReceiptMismatch,
    SealBroken,
)
from clf_sdk.keys import derive_column_key, derive_manifest_key, verify_signature
from clf_sdk.protocol import (
    RESULT_SIGNATURE,
    ResultEnvelope,
    RunResults,
    SignedResult,
    check_run,
    result_key_info,
)
from clf_sdk.receipt import VerifiedReceipt, verify
from clf_sdk.sealed import open_manifest, open_table


def _outputs(connection: Connection, run: str) -> list[SignedResult]:
    """Return the outputs that one owner holds, in the order of the run's outputs."""
    listed = connection.http.ask(RunResults, "GET", f"/v1/results/{run}")
    found = {entry.envelope.output: entry for entry in listed.outputs}
    if not found:
        raise NotFound(
            f"{connection.name!r} has no result of run {run}",
            hint="did the run end well? run.wait() says so",
        )
    names = next(iter(found.values())).envelope.outputs
    if set(names) != set(found):
        raise NotFound(
            f"{connection.name!r} has {len(found)} of the run's {len(names)} outputs",
            hint="the enclave is still delivering, or was stopped while it did",
        )
    return [found[name] for name in names]


def _agreed(connections: Sequence[Connection], run: str) -> list[SignedResult]:
    """Return the run's outputs, which all owners must hold alike."""
    first = _outputs(connections[0], run)
    for other in connections[1:]:
        if _outputs(other, run) != first:
            raise SealBroken(
                f"{connections[0].name!r} and {other.name!r} hold different results of this run",
                hint="trust neither; ask both owners",
            )
    return first


def _receipt(connections: Sequence[Connection], run: str) -> bytes:
    """Return the run's receipt, of which all owners must hold the same bytes."""
    first, *others = (connection.receipt(run) for connection in connections)
    for connection, other in zip(connections[1:], others, strict=True):
        if other != first:
            raise ReceiptMismatch(
                f"{connections[0].name!r} and {connection.name!r} hold different receipts of this "
                "run",
                hint="trust neither; `clf receipt compare` shows what differs",
            )
    return first


def _check_outputs(receipt: VerifiedReceipt, outputs: Sequence[SignedResult]) -> None:
    """Check that results are those that a receipt names, signed by the key that signed it."""
    for signed in outputs:
        envelope = signed.envelope
        verify_signature(
            receipt.signing_key, RESULT_SIGNATURE, envelope.to_json(), signed.signature
        )
        if (envelope.run, envelope.job, envelope.mode) != (
            receipt.run,
            receipt.job.digest,
            receipt.mode,
        ):
            raise ReceiptMismatch("a result is of another run, job or mode than the receipt")
    named = [(output.name, output.version) for output in receipt.outputs]
    if [(each.envelope.output, each.envelope.version) for each in outputs] != named:
        raise ReceiptMismatch("the results are not those that the receipt names")


def _table_key(envelope: ResultEnvelope, identity: Identity) -> bytes:
    info = result_key_info(
        run=envelope.run,
        job=envelope.job,
        output=envelope.output,
        version=envelope.version,
        recipient=identity.id,
    )
    for sealed in envelope.keys:
        try:
            return identity.open(sealed.to_json(), info=info)
        except SealBroken:
            continue  # sealed to another recipient
    raise SealBroken(
        "this result was not sealed to your identity",
        hint="fetch with the identity that the job names as a recipient",
    )


def _open(connection: Connection, envelope: ResultEnvelope, identity: Identity) -> pa.Table:
    base = f"/v1/results/{envelope.run}/{envelope.output}"
    table_key = _table_key(envelope, identity)
    manifest = open_manifest(
        connection.http.send("GET", f"{base}/manifest"),
        manifest_key=derive_manifest_key(table_key, envelope.version_id),
        table=envelope.output,
        version_id=envelope.version_id,
        expected_version=envelope.version,
    )
    keys = {
        name: derive_column_key(table_key, envelope.version_id, name)
        for name in manifest.schema.names
    }

    def pull(name: str, start: int, stop: int) -> bytes:
        headers = {"Range": f"bytes={start}-{stop - 1}"}
        return connection.http.send("GET", f"{base}/{name}", headers=headers)

    return open_table(manifest, keys, pull)


def fetch(
    run: Run | str,
    *,
    connections: Sequence[Connection] | None = None,
    identity: Identity | None = None,
    anchor: TrustAnchor | None = None,
    policy: EnclavePolicy | None = None,
) -> Result:
    """Fetch, verify and decrypt the outputs of a run.

    All owners of the job must hold the same results and the same receipt, and the receipt must
    hold: nothing is decrypted before.

    Parameters
    ----------
    run
        From `run`, or a run's id.
    connections
        To the servers of the job's owners; by default those that this process has made. A run's id
        alone does not say who the owners are, so it needs them.
    identity
        The recipient's; by default this user's own.
    anchor
        The root that is trusted; by default Intel's, or that of the simulation in which this
        process started the run. See `verify`.
    policy
        What the enclave must be; by default the program that the job pins, on platforms that are up
        to date. See `verify`.

    Returns
    -------
    Result
        The outputs and their receipt.

    Raises
    ------
    NotFound
        An owner has no result or no receipt of this run, or not all of it.
    ReceiptMismatch
        Owners hold different receipts, or results of another run or job.
    SealBroken
        Owners hold different results, or the result was sealed to another identity.
    ReceiptError, AttestationError
        The receipt does not hold; see `verify`.
    """
    if isinstance(run, Run):
        run_id, job = run.id, run.job.digest
        anchor = run.anchor if anchor is None else anchor
        servers = run.job.document.servers()
        given = list(connections_to(servers) if connections is None else connections)
        _check_connected(servers, given)
    else:
        run_id, job, given = check_run(run), None, list(connections or [])
        if not given:
            raise ConfigurationError(
                "a run's id alone does not say who the owners are",
                hint="give connections=[…] to all of them",
            )
    outputs = _agreed(given, run_id)
    data = _receipt(given, run_id)
    receipt = verify(data, anchor=anchor, policy=policy, run=run_id, job=job)
    _check_connected(receipt.job.servers(), given)
    _check_outputs(receipt, outputs)
    mine = Identity.mine() if identity is None else identity
    opened = {each.envelope.output: _open(given[0], each.envelope, mine) for each in outputs}
    return Result(receipt=receipt, outputs=opened)


def _check_connected(servers: Sequence[str], given: Sequence[Connection]) -> None:
    if missing := set(servers) - {connection.server for connection in given}:
        raise ConfigurationError(
            f"{len(missing)} of the job's owners are not connected",
            hint="connect to all of them: every owner must hold the same result",
        )
