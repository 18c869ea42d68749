"""The enclave's side of a session (docs/protocol.md §8, steps 1 to 4, 10 and 11)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from clf_enclave._transport import control_channel
from clf_sdk.attestation import Binding, Collateral, Evidence, EvidenceProvider
from clf_sdk.errors import BindingMismatch, Malformed, ServerIdentityMismatch, SignatureInvalid
from clf_sdk.keys import (
    PrivateKey,
    SigningKey,
    derive_run_secret,
    server_id,
    verify_signature,
)
from clf_sdk.operations import job_cost
from clf_sdk.protocol import (
    SESSION_SIGNATURE,
    Challenge,
    ChallengeRequest,
    Endpoint,
    InputKeys,
    JobDocument,
    RunRequest,
    Session,
    SessionAccess,
    SessionAnswer,
    SessionKeys,
    parse_json,
    session_keys_info,
)


@dataclass(frozen=True)
class RunIdentity:
    """One run of one job: its id and the keys that live and die with it.

    Attributes
    ----------
    run
        The run's id.
    job
        The job.
    hpke
        Key to which servers seal table keys.
    signing
        Key that signs the results.
    provider
        Where quotes come from.
    """

    run: str
    job: JobDocument
    hpke: PrivateKey
    signing: SigningKey
    provider: EvidenceProvider

    @classmethod
    def of(cls, request: RunRequest, provider: EvidenceProvider) -> RunIdentity:
        """Return the identity of the run that is asked for, with fresh keys."""
        return cls(
            run=request.run,
            job=request.job,
            hpke=PrivateKey.generate(),
            signing=SigningKey.generate(),
            provider=provider,
        )


@dataclass(frozen=True)
class OpenSession:
    """A session that a server granted and that the enclave has checked.

    Attributes
    ----------
    endpoint
        Where the server is.
    public_key
        The server's identity key, raw Ed25519.
    evidence
        What the enclave proved itself with, collateral included.
    session, signature
        What the server signed, and its signature.
    access
        Tickets.
    keys
        Opened keys, by input.
    secrets
        Named secrets that were asked for, by name.
    memory
        The server's memory secret (docs/protocol.md §8.4); None where nothing is compared.
    """

    endpoint: Endpoint
    public_key: bytes
    evidence: Evidence
    session: Session
    signature: bytes
    access: SessionAccess
    keys: dict[str, InputKeys]
    secrets: dict[str, bytes]
    memory: bytes | None

    def __repr__(self) -> str:
        return f"OpenSession({self.session.session[:8]}… with server {self.session.server[:8]}…)"


def _check_challenge(endpoint: Endpoint, challenge: Challenge) -> None:
    if challenge.server != endpoint.server or server_id(challenge.public_key) != endpoint.server:
        raise ServerIdentityMismatch(
            f"the server at {endpoint.url} is not the one that the job pins "
            f"({endpoint.server[:12]}…)",
            hint="the address leads elsewhere, or the server lost its identity key",
        )


def _check_answer(
    identity: RunIdentity,
    binding: Binding,
    report_data: bytes,
    challenge: Challenge,
    answer: SessionAnswer,
) -> None:
    session = answer.session
    try:
        verify_signature(
            challenge.public_key, SESSION_SIGNATURE, session.to_json(), answer.signature
        )
    except SignatureInvalid as error:
        raise ServerIdentityMismatch(
            "the session is not signed by the server that the job pins"
        ) from error
    if session.access != answer.access.digest:
        raise ServerIdentityMismatch("the session was signed for other keys and tickets")
    expected = (
        challenge.server,
        challenge.nonce,
        report_data.hex(),
        identity.run,
        binding.job,
        identity.provider.mode,
    )
    found = (
        session.server,
        session.nonce,
        session.binding,
        session.run,
        session.job,
        session.mode,
    )
    if found != expected:
        raise BindingMismatch("the server signed a session for another nonce, run, job or mode")


def _check_granted(
    job: JobDocument, secrets: Sequence[str], session: Session, keys: SessionKeys
) -> None:
    """Every input that the job takes from this server was granted, exactly as asked."""
    if (keys.memory is None) != (session.rules.differencing == "off"):
        raise BindingMismatch("the server's memory secret is not what its rules demand")
    if session.secrets != list(secrets) or set(keys.secrets) != set(secrets):
        raise BindingMismatch("the server released other secrets than it was asked for")
    asked = {entry.name: entry for entry in job.inputs if entry.server == session.server}
    cost = job_cost(job)
    if set(asked) != {granted.name for granted in session.inputs} or set(asked) != set(keys.inputs):
        raise BindingMismatch("the server granted other inputs than the job names")
    for granted in session.inputs:
        entry = asked[granted.name]
        if (
            granted.table != entry.table
            or entry.version not in ("latest", granted.source or granted.version)
            or (entry.columns is not None and granted.columns != entry.columns)
            or set(keys.inputs[granted.name].columns) != set(granted.released)
        ):
            raise BindingMismatch(
                f"the server granted another table, version or columns for input {granted.name!r}"
            )
        if granted.epsilon_millionths != cost:
            raise BindingMismatch(
                f"the server has not taken what the job costs from the privacy budget of input "
                f"{granted.name!r}"
            )


def _with_collateral(evidence: Evidence, answer: SessionAnswer) -> Evidence:
    """Complete the evidence by what the server verified it with: a receipt must carry it."""
    if evidence.collateral is not None:
        return evidence
    if answer.collateral is None:
        raise Malformed("the server does not say what collateral it verified the quote with")
    return replace(evidence, collateral=Collateral.from_json(answer.collateral))


def open_session(
    identity: RunIdentity, endpoint: Endpoint, *, secrets: Sequence[str] = ()
) -> OpenSession:
    """Attest to a server over a new connection, and return the keys that it releases.

    Parameters
    ----------
    identity
        The run.
    endpoint
        Where the server is.
    secrets
        Names of secrets to ask for, each once (docs/protocol.md §8.3).

    Raises
    ------
    ServerIdentityMismatch
        Somebody else answers at the endpoint.
    BindingMismatch
        The answer is for another session.
    AttestationError, PolicyRefused, NotFound
        The server refuses.
    """
    with control_channel(endpoint) as channel:
        # 1. A nonce from the server.
        asked = ChallengeRequest(server=endpoint.server).canonical()
        challenge = Challenge.parse(channel.post_json("/v1/challenges", asked))

        # 2. It is the server that the job pins.
        _check_challenge(endpoint, challenge)

        # 3. A quote over the binding of this session.
        binding = Binding(
            nonce=challenge.nonce,
            server=challenge.server,
            run=identity.run,
            job=identity.job.digest,
            hpke=identity.hpke.public.to_document(),
            signing_key=identity.signing.public_bytes,
        )
        report_data = binding.report_data
        evidence = Evidence(
            quote=identity.provider.quote(report_data),
            binding=binding,
            collateral=identity.provider.collateral(),
        )

        # 4. Evidence and job to the server, which answers after its steps 5 to 9.
        request = {
            "evidence": evidence.to_json(),
            "job": identity.job.to_json(),
            "secrets": list(secrets),
        }
        body = json.dumps(request).encode()
        answer = SessionAnswer.parse(channel.post_json("/v1/sessions", body))

    # 10. The answer is signed by the pinned server and is for this session.
    _check_answer(identity, binding, report_data, challenge, answer)

    # 11. The keys open for this enclave only.
    session = answer.session
    info = session_keys_info(
        binding=session.binding, server=session.server, session=session.session
    )
    plaintext = identity.hpke.open(answer.access.keys.to_json(), info=info)
    keys = SessionKeys.parse(parse_json(plaintext, what="session keys"))
    _check_granted(identity.job, secrets, session, keys)
    return OpenSession(
        endpoint=endpoint,
        public_key=challenge.public_key,
        evidence=_with_collateral(evidence, answer),
        session=session,
        signature=answer.signature,
        access=answer.access,
        keys=dict(keys.inputs),
        secrets=dict(keys.secrets),
        memory=keys.memory,
    )


def run_secret(identity: RunIdentity, sessions: Mapping[str, OpenSession]) -> bytes:
    """Return the source of a run's random numbers (docs/protocol.md §3.3).

    Parameters
    ----------
    identity
        The run.
    sessions
        Those that released the keys, by server id.
    """
    keys = [sessions[entry.server].keys[entry.name].manifest_key for entry in identity.job.inputs]
    return derive_run_secret(keys, identity.run)
