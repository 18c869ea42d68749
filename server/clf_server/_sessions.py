"""Sessions: evidence and a job come in, sealed keys go out (docs/protocol.md §8, steps 5 to 9)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from functools import lru_cache

from clf_sdk import Policy
from clf_sdk.attestation import (
    Binding,
    Collateral,
    Evidence,
    VerifiedEnclave,
    check_program,
    verify_quote,
)
from clf_sdk.errors import BindingMismatch, CollateralUnavailable, NotFound, PolicyRefused
from clf_sdk.keys import PublicKey
from clf_sdk.protocol import (
    SESSION_SIGNATURE,
    BlobAccess,
    Challenge,
    GrantedInput,
    JobDocument,
    JobInput,
    ResultAccess,
    SealedMessage,
    Session,
    SessionAccess,
    SessionAnswer,
    SessionKeys,
    SessionRequest,
    session_keys_info,
)
from clf_server._metadata import StoredTable
from clf_server._nonces import LIFETIME_SECONDS as NONCE_SECONDS
from clf_server._session_audit import describe_granted
from clf_server._state import ServerState
from clf_server._tickets import LIFETIME_SECONDS as TICKET_SECONDS
from clf_server._tickets import Ticket
from clf_server._vault import Vault


@dataclass(frozen=True)
class Opened:
    """A session that was granted, with what was proved, for the log."""

    answer: SessionAnswer
    enclave: VerifiedEnclave


def challenge(state: ServerState) -> Challenge:
    """Step 1: give out a nonce."""
    return Challenge(
        nonce=state.nonces.issue(),
        server=state.server_id,
        public_key=state.identity.public_bytes,
        expires_in_seconds=NONCE_SECONDS,
    )


def _check_binding(state: ServerState, binding: Binding, job_digest: str) -> None:
    if binding.server != state.server_id:
        raise BindingMismatch(
            "the evidence was made for another server",
            hint="the job's endpoints and server identities do not belong together",
        )
    if binding.job != job_digest:
        raise BindingMismatch("the evidence was made for another job than the one enclosed")


@lru_cache(maxsize=16)
def _known(collateral: Collateral) -> Collateral:
    """Return the first of equal collateral: what was parsed of it once is parsed for all.

    Parsed, not verified: each session verifies its quote and all that the collateral signs.
    """
    return collateral


def _collateral(state: ServerState, evidence: Evidence) -> Collateral:
    if evidence.collateral is not None:
        return _known(evidence.collateral)
    if state.collateral is None:
        raise CollateralUnavailable(
            "the evidence brings no collateral and this server has no source of its own",
            hint="set pccs_url or collateral_file in clf_server.conf",
        )
    return state.collateral.collateral_for(evidence.quote, now=state.now())


def _check_operation(policy: Policy, job: JobDocument, entry: JobInput) -> None:
    if job.operation.name not in policy.operations:
        raise PolicyRefused(
            f"operation {job.operation.name!r} is not allowed on table {entry.table!r}",
            rule="operations",
            hint="ask the owner to allow it",
        )


def _grant(vault: Vault, table: StoredTable, entry: JobInput) -> GrantedInput:
    current = table.current
    if entry.version not in ("latest", current.version):
        raise NotFound(
            f"table {entry.table!r} is not at the version that the job names",
            hint="the owner shared it anew; build the job again from the current version",
        )
    present = vault.manifest(current).schema.names
    columns = list(present) if entry.columns is None else list(entry.columns)
    known = set(present)
    if unknown := [column for column in columns if column not in known]:
        raise NotFound(
            f"table {entry.table!r} has no column {unknown[0][:80]!r}",
            hint="look at the table's columns in the catalogue",
        )
    return GrantedInput(
        name=entry.name,
        table=table.name,
        version_id=current.version_id,
        version=current.version,
        columns=columns,
        manifest_bytes=current.manifest_bytes,
    )


def open_session(state: ServerState, vault: Vault, request: SessionRequest) -> Opened:
    """Decide on a session: return the signed answer, or raise the reason why not."""
    job = request.job
    job_digest = job.digest
    evidence = Evidence.from_json(request.evidence)
    binding = evidence.binding
    report_data = binding.report_data

    # 5. The nonce is used up, whatever follows.
    state.nonces.consume(binding.nonce)

    # 6. The binding names this server and the enclosed job, and its key is usable.
    _check_binding(state, binding, job_digest)
    recipient = PublicKey.from_document(binding.hpke)

    # 7. The quote holds under the enclave rule of each table that the job asks for.
    entries = [entry for entry in job.inputs if entry.server == state.server_id]
    if not entries:
        raise BindingMismatch("the job asks nothing of this server")
    tables = {entry.name: state.metadata.table(entry.table) for entry in entries}
    policies = {name: Policy.from_json(table.policy) for name, table in tables.items()}
    collateral = _collateral(state, evidence)
    now = state.now()
    verified = [
        verify_quote(
            evidence.quote,
            collateral,
            policy=rule,
            report_data=report_data,
            anchor=state.anchor,
            now=now,
        )
        for rule in dict.fromkeys(policy.enclave for policy in policies.values())
    ]
    check_program(verified[0], job.enclave, pinned_by="job")

    # 8. Operation and columns are allowed; "latest" becomes a version.
    for entry in entries:
        _check_operation(policies[entry.name], job, entry)
    inputs = [_grant(vault, tables[entry.name], entry) for entry in entries]

    # 9. Keys sealed to the enclave, tickets, and this server's signature.
    session_id = secrets.token_hex(16)
    keys = SessionKeys(
        inputs={
            granted.name: vault.release(tables[granted.name].current, granted.columns)
            for granted in inputs
        }
    )
    info = session_keys_info(binding=report_data.hex(), server=state.server_id, session=session_id)
    ticket = Ticket(
        versions=frozenset(granted.version_id for granted in inputs),
        run=binding.run,
        job=job_digest,
        mode=state.anchor.mode,
        signing_key=None,
    )
    result_ticket = Ticket(
        versions=frozenset(),
        run=binding.run,
        job=job_digest,
        mode=state.anchor.mode,
        signing_key=binding.signing_key,
    )
    access = SessionAccess(
        keys=SealedMessage(**recipient.seal(keys.canonical(), info=info)),
        blobs=BlobAccess(
            url=state.blob_url,
            ticket=state.tickets.issue(ticket),
            expires_in_seconds=TICKET_SECONDS,
        ),
        results=ResultAccess(ticket=state.tickets.issue(result_ticket)),
    )
    session = Session(
        clf=1,
        type="session",
        server=state.server_id,
        session=session_id,
        nonce=binding.nonce,
        binding=report_data.hex(),
        run=binding.run,
        job=job_digest,
        mode=state.anchor.mode,
        granted_at=now,
        inputs=inputs,
        access=access.digest,
    )
    signature = state.identity.sign(SESSION_SIGNATURE, session.to_json())
    state.audit.append("session.granted", describe_granted(session, verified[0]))
    answer = SessionAnswer(
        session=session,
        signature=signature,
        access=access,
        collateral=collateral.to_json() if evidence.collateral is None else None,
    )
    return Opened(answer, verified[0])
