"""``fetch()``: collect a run's sealed outputs from all owners, and open them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa

from clf_sdk._connection import Connection, connections_to
from clf_sdk._identity import Identity
from clf_sdk._result import Result
from clf_sdk._run import Run
from clf_sdk.errors import ConfigurationError, InvalidName, NotFound, SealBroken
from clf_sdk.keys import derive_column_key, derive_manifest_key
from clf_sdk.protocol import ResultEnvelope, RunResults, result_key_info
from clf_sdk.sealed import open_manifest, open_table


def _envelopes(connection: Connection, run: str) -> list[ResultEnvelope]:
    """Return the envelopes that one owner holds, in the order of the run's outputs."""
    listed = connection.http.ask(RunResults, "GET", f"/v1/results/{run}")
    found = {entry.envelope.output: entry.envelope for entry in listed.outputs}
    if not found:
        raise NotFound(
            f"{connection.name!r} has no result of run {run}",
            hint="did the run end well? run.wait() says so",
        )
    names = next(iter(found.values())).outputs
    if set(names) != set(found):
        raise NotFound(
            f"{connection.name!r} has {len(found)} of the run's {len(names)} outputs",
            hint="the enclave is still delivering, or was stopped while it did",
        )
    return [found[name] for name in names]


def _agreed(connections: Sequence[Connection], run: str, job: str | None) -> list[ResultEnvelope]:
    """Return the run's envelopes, which all owners must hold alike."""
    first = _envelopes(connections[0], run)
    for other in connections[1:]:
        if _envelopes(other, run) != first:
            raise SealBroken(
                f"{connections[0].name!r} and {other.name!r} hold different results of this run",
                hint="trust neither; ask both owners",
            )
    for envelope in first:
        if envelope.run != run or (job is not None and envelope.job != job):
            raise SealBroken("the servers hold the result of another run or job")
    if len({(entry.job, entry.mode) for entry in first}) != 1:
        raise SealBroken("the run's outputs are of different jobs")
    return first


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
) -> Result:
    """Fetch and decrypt the outputs of a run.

    All owners of the job must hold the same result.

    Parameters
    ----------
    run
        From `run`, or a run's id.
    connections
        To the servers of the job's owners; by default those that this process has made. A run's id
        alone does not say who the owners are, so it needs them.
    identity
        The recipient's; by default this user's own.

    Returns
    -------
    Result
        The outputs.

    Raises
    ------
    NotFound
        An owner has no result of this run, or not all of it.
    SealBroken
        Owners hold different results, or the result was sealed to another identity.
    """
    if isinstance(run, Run):
        run_id, job = run.id, run.job.digest
        servers = run.job.document.servers()
        given = list(connections_to(servers) if connections is None else connections)
        if missing := set(servers) - {connection.server for connection in given}:
            raise ConfigurationError(
                f"{len(missing)} of the job's owners are not connected",
                hint="connect to all of them: every owner must hold the same result",
            )
    else:
        run_id, job, given = run, None, list(connections or [])
        if not re.fullmatch(r"[0-9a-f]{32}", run_id):
            raise InvalidName("a run's id has 32 hex digits", hint="it is the id of the Run")
        if not given:
            raise ConfigurationError(
                "a run's id alone does not say who the owners are",
                hint="give connections=[…] to all of them",
            )
    envelopes = _agreed(given, run_id, job)
    mine = Identity.mine() if identity is None else identity
    outputs = {entry.output: _open(given[0], entry, mine) for entry in envelopes}
    return Result(run=run_id, job=envelopes[0].job, mode=envelopes[0].mode, outputs=outputs)
