"""Sessions: evidence and a job come in, sealed keys go out (docs/protocol.md §8, steps 5 to 9)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from functools import lru_cache

import sqlalchemy as sa

from clf_sdk import Policy
from clf_sdk.attestation import (
    Binding,
    Collateral,
    Evidence,
    VerifiedEnclave,
    check_program,
    verify_quote,
)
from clf_sdk.errors import BindingMismatch, CollateralUnavailable
from clf_sdk.keys import PublicKey, SigningKey, derive_memory_secret, server_id
from clf_sdk.operations import job_cost, millionths
from clf_sdk.policy import AccessRequest, enforce
from clf_sdk.protocol import (
    SESSION_SIGNATURE,
    BlobAccess,
    Challenge,
    GrantedInput,
    JobInput,
    PublicKeyDocument,
    ResultAccess,
    Rules,
    SealedMessage,
    Session,
    SessionAccess,
    SessionAnswer,
    SessionKeys,
    SessionRequest,
    digest,
    session_keys_info,
)
from clf_server._budgets import Charge, find_spent
from clf_server._derived import DerivedVersions
from clf_server._inputs import asked_columns
from clf_server._metadata import StoredTable, Version
from clf_server._nonces import LIFETIME_SECONDS as NONCE_SECONDS
from clf_server._policies import Policies
from clf_server._session_audit import describe_granted
from clf_server._standing import find_standing
from clf_server._state import ServerState
from clf_server._tickets import LIFETIME_SECONDS as TICKET_SECONDS
from clf_server._tickets import Remembered, Ticket
from clf_server._vault import Vault


@dataclass(frozen=True)
class Opened:
    """A session that was granted, with what was proved, for the log."""

    answer: SessionAnswer
    enclave: VerifiedEnclave


def challenge(state: ServerState, server: str | None = None) -> Challenge:
    """Step 1: give out a nonce, under the identity that the job pins, if it is offered."""
    offered = state.identities.offered(now=state.now())
    return _challenge(state, offered.get(server or "") or state.identity)


def challenge_at_once(state: ServerState, server: str | None) -> Challenge | None:
    """Do the same from memory; None when that asks the database.

    An identity that ends within this second still gets a nonce, and no session (step 6).
    """
    if state.metadata.shared:
        return None
    identity = state.identities.offered_lately(server, now=state.now())
    return None if identity is None else _challenge(state, identity)


def _challenge(state: ServerState, identity: SigningKey) -> Challenge:
    return Challenge(
        nonce=state.nonces.issue(),
        server=server_id(identity.public_bytes),
        public_key=identity.public_bytes,
        expires_in_seconds=NONCE_SECONDS,
    )


def _check_binding(
    state: ServerState, binding: Binding, job_digest: str, connection: sa.Connection
) -> SigningKey:
    """Return the identity that the binding names."""
    offered = state.identities.offered(now=state.now(), connection=connection)
    identity = offered.get(binding.server)
    if identity is None:
        raise BindingMismatch(
            "the evidence was made for another server",
            hint="the job's endpoints and server identities do not belong together; or the server "
            "gave this identity up, and the job must be submitted anew",
        )
    if binding.job != job_digest:
        raise BindingMismatch("the evidence was made for another job than the one enclosed")
    return identity


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


@dataclass(frozen=True)
class _Asked:
    """An input that the job takes from this server, and what the owner says about it."""

    entry: JobInput
    table: StoredTable
    policy: Policy


def _grant(
    derived: DerivedVersions, asked: _Asked, columns: list[str], cost: int
) -> tuple[GrantedInput, Version]:
    """Return what is granted, and the version that it is pulled from."""
    current, row_filter = asked.table.current, asked.policy.row_filter
    entity = asked.policy.entity
    released = columns if entity is None or entity in columns else [*columns, entity]
    version = current if row_filter is None else derived.version(asked.table, row_filter, released)
    granted = GrantedInput(
        name=asked.entry.name,
        table=asked.table.name,
        version_id=version.version_id,
        version=version.version,
        source=None if version is current else current.version,
        columns=columns,
        entity=entity,
        epsilon_millionths=cost,
        manifest_bytes=version.manifest_bytes,
    )
    return granted, version


def _remembered(asked: _Asked) -> Remembered:
    """Return what tells the rows of an input apart from those of other versions and filters.

    The columns that a job asks for make no difference to that.
    """
    row_filter = asked.policy.row_filter
    source = {
        "version": asked.table.current.version_id,
        "rows": None if row_filter is None else row_filter.canonical,
    }
    return Remembered(
        input=asked.entry.name,
        table=asked.table.name,
        basis=digest(source),
        entity=asked.policy.entity,
        rows=asked.policy.rows,
    )


def open_session(
    state: ServerState,
    vault: Vault,
    policies: Policies,
    derived: DerivedVersions,
    request: SessionRequest,
) -> Opened:
    """Decide on a session: return the signed answer, or raise the reason why not."""
    job = request.job
    job_digest = job.digest
    evidence = Evidence.from_json(request.evidence)
    binding = evidence.binding
    report_data = binding.report_data

    # 5. The nonce is used up, whatever follows.
    state.nonces.consume(binding.nonce)

    with state.metadata.reading() as connection:
        # 6. The binding names this server and the enclosed job, and its key is usable.
        identity = _check_binding(state, binding, job_digest, connection)
        recipient = PublicKey.from_document(binding.hpke)

        # 7. The quote holds under the enclave rule of each table that the job asks for.
        entries = [entry for entry in job.inputs if entry.server == binding.server]
        if not entries:
            raise BindingMismatch("the job asks nothing of this server")
        cost = job_cost(job)
        tables = [state.metadata.table(entry.table, connection) for entry in entries]
        standing = find_standing(connection, job=job_digest, run=binding.run)
        spent = {entry.table: find_spent(connection, entry.table) for entry in entries if cost}
    asked = [
        _Asked(entry, table, policies.of(table))
        for entry, table in zip(entries, tables, strict=True)
    ]
    collateral = _collateral(state, evidence)
    now = state.now()
    verified = {
        rule: verify_quote(
            evidence.quote,
            collateral,
            policy=rule,
            report_data=report_data,
            anchor=state.anchor,
            now=now,
        )
        for rule in dict.fromkeys(each.policy.enclave for each in asked)
    }
    enclave = next(iter(verified.values()))
    check_program(enclave, job.enclave, pinned_by="job")
    state.secrets.check_program(enclave)

    # 8. The owner has approved the job, and every rule of every table's policy allows it; "latest"
    #    becomes a version, and where rows are filtered a version without the others.
    agreed = state.grants.agreed(standing)
    known = standing.run
    grants = []
    for each in asked:
        schema = vault.manifest(each.table.current).schema
        question = AccessRequest(
            job=job,
            entry=each.entry,
            now=now,
            analyst=agreed.analyst,
            columns=schema.names,
            schema=schema,
            enclave=verified[each.policy.enclave],
            runs_used=agreed.runs_before,
            approved=agreed.by_owner,
            privacy_spent=spent.get(each.table.name),
            privacy_paid=known is not None and known.enclave == binding.signing_key,
        )
        enforce(each.policy, question)
        columns = asked_columns(each.entry, each.table.current, schema.names)
        grants.append(_grant(derived, each, columns, cost))
    inputs = [granted for granted, _ in grants]
    secrets_asked = state.secrets.take(request.secrets, enclave)

    # 9. Keys sealed to the enclave, tickets, and this server's signature.
    session_id = secrets.token_hex(16)
    rules = Rules.tightest(each.policy.rules for each in asked)
    if cost:  # budgets bound what noised results tell together, and their people are not told
        rules = rules.model_copy(update={"differencing": "off"})
    keys = SessionKeys(
        inputs={
            granted.name: vault.release(version, granted.released) for granted, version in grants
        },
        secrets=secrets_asked,
        memory=None
        if rules.differencing == "off"
        else derive_memory_secret(identity.private_bytes()),
    )
    info = session_keys_info(binding=report_data.hex(), server=binding.server, session=session_id)
    ticket = Ticket(
        versions=frozenset(granted.version_id for granted in inputs),
        run=binding.run,
        job=job_digest,
        mode=state.anchor.mode,
        enclave=binding.signing_key,
        session=session_id,
        takes_results=False,
        review=rules.release == "review",
        output_rows=rules.output_rows,
        output_bytes=rules.output_bytes,
        server=binding.server,
        differencing=rules.differencing,
        must_remember=rules.differencing != "off" and rules.smallest_group > 1,
        remembered=tuple(_remembered(each) for each in asked)
        if rules.differencing != "off"
        else (),
    )
    result_ticket = replace(ticket, takes_results=True)
    access = SessionAccess(
        keys=SealedMessage(**recipient.seal(keys.canonical(), info=info)),
        blobs=BlobAccess(
            url=state.blob_url,
            ticket=state.tickets.issue(ticket),
            expires_in_seconds=TICKET_SECONDS,
        ),
        results=ResultAccess(
            ticket=state.tickets.issue(result_ticket),
            key=PublicKeyDocument(**state.release_key.public.to_document()),
        ),
    )
    with state.metadata.transaction() as connection:
        for each in asked:
            state.metadata.check_still(connection, each.table)
        grant = state.grants.take(
            connection,
            job=job_digest,
            run=binding.run,
            enclave=binding.signing_key,
            versions={granted.name: version.lineage for granted, version in grants},
            most_runs=min(each.policy.runs for each in asked),
            charges=[
                Charge(each.table.name, cost, millionths(each.policy.privacy_budget or 0))
                for each in asked
                if cost
            ],
        )
        session = Session(
            clf=1,
            type="session",
            server=binding.server,
            session=session_id,
            nonce=binding.nonce,
            binding=report_data.hex(),
            run=binding.run,
            job=job_digest,
            mode=state.anchor.mode,
            granted_at=now,
            grant=grant,
            inputs=inputs,
            secrets=list(secrets_asked),
            rules=rules,
            access=access.digest,
        )
        state.audit.append(
            "session.granted", describe_granted(session, enclave), connection=connection
        )
    signature = identity.sign(SESSION_SIGNATURE, session.to_json())
    answer = SessionAnswer(
        session=session,
        signature=signature,
        access=access,
        collateral=collateral.to_json() if evidence.collateral is None else None,
    )
    return Opened(answer, enclave)
