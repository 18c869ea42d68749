"""``fetch()``: collect a run's sealed outputs from all owners, and open them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clf_sdk._connection import Connection, connections_to
from clf_sdk._identity import Identity
from clf_sdk._job import Job
from clf_sdk._result import Output, Result
from clf_sdk._run import Run
from clf_sdk._shares import all_shares
from clf_sdk.attestation import EnclavePolicy, TrustAnchor
from clf_sdk.errors import (
    ConfigurationError,
    NotFound,
    ReceiptMismatch,
    SealBroken,
)
from clf_sdk.keys import (
    derive_column_key,
    derive_manifest_key,
    derive_output_key,
    verify_signature,
)
from clf_sdk.protocol import (
    RESULT_SIGNATURE,
    HeldResult,
    ReleaseShare,
    ResultEnvelope,
    RunList,
    RunResults,
    SealedMessage,
    SignedResult,
    check_run,
    result_key_info,
    share_info,
)
from clf_sdk.receipt import VerifiedReceipt, verify
from clf_sdk.sealed import open_document, open_manifest, open_table


def _outputs(connection: Connection, run: str) -> list[HeldResult]:
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


def _signed(outputs: Sequence[HeldResult]) -> list[SignedResult]:
    """Return outputs without what each owner says of its own."""
    return [SignedResult(envelope=held.envelope, signature=held.signature) for held in outputs]


def _agreed(connections: Sequence[Connection], run: str) -> list[SignedResult]:
    """Return the run's outputs, which all owners must hold alike."""
    first = _signed(_outputs(connections[0], run))
    for other in connections[1:]:
        if _signed(_outputs(other, run)) != first:
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


def _opened(sealed: Sequence[SealedMessage], identity: Identity, info: dict[str, Any]) -> bytes:
    for entry in sealed:
        try:
            return identity.open(entry.to_json(), info=info)
        except SealBroken:
            continue  # sealed to another recipient
    raise _not_mine()


def _not_mine() -> SealBroken:
    return SealBroken(
        "this result was not sealed to your identity",
        hint="fetch with the identity that the job names as a recipient",
    )


def _output_key(
    envelope: ResultEnvelope, shares: dict[tuple[str, str], ReleaseShare], identity: Identity
) -> bytes:
    info = result_key_info(
        run=envelope.run,
        job=envelope.job,
        output=envelope.output,
        version=envelope.version,
        recipient=identity.id,
    )
    base = _opened(envelope.keys, identity, info)
    parts = [
        _part(shares[envelope.output, server], envelope, server, identity)
        for server in envelope.reviewers
    ]
    return derive_output_key(base, parts, envelope.version_id)


def _part(share: ReleaseShare, envelope: ResultEnvelope, server: str, identity: Identity) -> bytes:
    try:
        return _opened(
            share.keys, identity, share_info(envelope, server=server, recipient=identity.id)
        )
    except SealBroken as error:
        raise SealBroken(
            f"what owner {server[:12]}… gave as its share of output {envelope.output!r} is not "
            "the share that the enclave sealed to you",
            hint="ask that owner; its server is at fault, or lies",
        ) from error


def _open(connection: Connection, envelope: ResultEnvelope, key: bytes) -> Output:
    base = f"/v1/results/{envelope.run}/{envelope.output}"
    if envelope.kind == "document":
        document: dict[str, Any] = open_document(
            connection.http.send("GET", f"{base}/document"),
            output=envelope.output,
            output_key=key,
            version_id=envelope.version_id,
            expected_version=envelope.version,
        )
        return document
    manifest = open_manifest(
        connection.http.send("GET", f"{base}/manifest"),
        manifest_key=derive_manifest_key(key, envelope.version_id),
        table=envelope.output,
        version_id=envelope.version_id,
        expected_version=envelope.version,
    )
    keys = {
        name: derive_column_key(key, envelope.version_id, name) for name in manifest.schema.names
    }

    def pull(name: str, start: int, stop: int) -> bytes:
        headers = {"Range": f"bytes={start}-{stop - 1}"}
        return connection.http.send("GET", f"{base}/{name}", headers=headers)

    return open_table(manifest, keys, pull)


def _newest_run(job: str, connections: Sequence[Connection]) -> str:
    """Return the newest run of a job of which every owner holds results."""
    listed = [
        connection.http.ask(RunList, "GET", "/v1/results", params={"job": job}).runs
        for connection in connections
    ]
    everywhere = set.intersection(*({entry.run for entry in runs} for runs in listed))
    for entry in listed[0]:
        if entry.run in everywhere:
            return entry.run
    lacking = [
        connection.name for connection, runs in zip(connections, listed, strict=True) if not runs
    ]
    raise NotFound(
        "no run of this job has delivered results to all owners"
        + (f"; there are none at: {', '.join(lacking)}" if lacking else ""),
        hint="run it first: clf.run(job)",
    )


def fetch(
    run: Run | Job | str,
    *,
    connections: Sequence[Connection] | None = None,
    identity: Identity | None = None,
    anchor: TrustAnchor | None = None,
    policy: EnclavePolicy | None = None,
    wait: bool = False,
    timeout_seconds: float | None = None,
    progress: bool | None = None,
) -> Result:
    """Fetch, verify and decrypt the outputs of a run that are for this person.

    All owners of the job must hold the same results and the same receipt, and the receipt must
    hold: nothing is decrypted before.

    Parameters
    ----------
    run
        From `run`, a job (then its newest run), or a run's id.
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
    wait
        Whether to wait until the run has ended and every owner has released its outputs; it says
        for whom. Interrupting stops the waiting and nothing else.
    timeout_seconds
        How long to wait for releases, at most; by default without limit.
    progress
        Whether to show a progress bar while waiting; by default only on a terminal or in a
        notebook.

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
    ReleasePending
        Owners have yet to release outputs; it names them.
    DeadlineExceeded
        They have not done so in time.
    ReleaseRefused
        An owner refused to release an output, for good.
    ReceiptError, AttestationError
        The receipt does not hold; see `verify`.
    """
    if isinstance(run, Run | Job):
        document = run.job.document if isinstance(run, Run) else run.document
        given = list(connections_to(document.servers()) if connections is None else connections)
        _check_connected(document.servers(), given)
        job: str | None = document.digest
        if isinstance(run, Run):
            run_id = run.id
            if wait:
                run.wait(progress=progress)
            anchor = run.anchor if anchor is None else anchor
        else:
            run_id = _newest_run(document.digest, given)
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
    for_me = {output.name for output in receipt.outputs if mine.id in output.recipients}
    if not for_me:
        raise _not_mine()
    outputs = [each for each in outputs if each.envelope.output in for_me]
    shares = all_shares(
        outputs, given, wait=wait, timeout_seconds=timeout_seconds, progress=progress
    )
    opened = {
        each.envelope.output: _open(
            given[0], each.envelope, _output_key(each.envelope, shares, mine)
        )
        for each in outputs
    }
    return Result(receipt=receipt, outputs=opened)


def _check_connected(servers: Sequence[str], given: Sequence[Connection]) -> None:
    if missing := set(servers) - {server for each in given for server in each.known_as}:
        raise ConfigurationError(
            f"{len(missing)} of the job's owners are not connected",
            hint="connect to all of them: every owner must hold the same result",
        )
