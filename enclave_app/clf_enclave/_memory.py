"""Compare of whom results speak with what owners remember, before they are sealed (§8.4)."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping

from cryptography.cobblestone import Cobblestone256Encryptor

from clf_enclave._disclosure import Disclosure
from clf_enclave._populations import Population, read_sets, sizes_too_close, too_close
from clf_enclave._session import OpenSession, RunIdentity
from clf_enclave._transport import control_channel
from clf_sdk.errors import (
    BindingMismatch,
    Conflict,
    SealBroken,
    ServerIdentityMismatch,
    SignatureInvalid,
)
from clf_sdk.keys import derive_memory_key, verify_signature
from clf_sdk.protocol import (
    MEMORY_LIST_SIGNATURE,
    MEMORY_SIGNATURE,
    MOST_SEALED_BYTES,
    GrantedInput,
    MemoryAnswer,
    MemoryList,
    MemoryRecord,
    MemoryStatement,
    MemorySubmission,
    SignedMemoryList,
    canonical_json,
)
from clf_sdk.sealed import open_blob

_MOST_ATTEMPTS = 100


class MemoryOfOwners:
    """What the owners of a job remember, as one run meets it.

    Parameters
    ----------
    identity
        The run.
    sessions
        With every owner, by server id: those that confirmed.
    disclosure
        The rules.
    """

    def __init__(
        self, identity: RunIdentity, sessions: Mapping[str, OpenSession], disclosure: Disclosure
    ) -> None:
        self._identity = identity
        self._sessions = sessions
        self._smallest = disclosure.rules.smallest_group

    def settle(self, populations: Mapping[str, Population]) -> set[str]:
        """Tell every owner who remembers of whom the results speak.

        Parameters
        ----------
        populations
            By input.

        Returns
        -------
        set
            Server ids of owners who demand to review the outputs.

        Raises
        ------
        PolicyRefused
            The results are too close to earlier ones.
        """
        reviewers: set[str] = set()
        if self._smallest == 1:
            return reviewers
        for server, session in self._sessions.items():
            if session.session.rules.differencing == "off":
                continue
            for granted in session.session.inputs:
                if self._tell(session, granted, populations[granted.name]):
                    reviewers.add(server)
        return reviewers

    def _tell(self, session: OpenSession, granted: GrantedInput, found: Population) -> bool:
        for _ in range(_MOST_ATTEMPTS):
            remembered = self._list(session, granted)
            same, close = self._compare(session, granted, remembered, found)
            submission = self._statement(granted, remembered, found, same, close)
            try:
                return self._submit(session, submission)
            except Conflict:  # another run released something since: compare with that, too
                continue
        return self._submit(session, submission)

    def _headers(self, session: OpenSession) -> dict[str, str]:
        return {"Authorization": f"CLF-Ticket {session.access.results.ticket}"}

    def _list(self, session: OpenSession, granted: GrantedInput) -> MemoryList:
        path = f"/v1/memory/{self._identity.run}/{granted.name}"
        with control_channel(session.endpoint) as channel:
            answer = channel.call("GET", path, b"", self._headers(session))
        signed = SignedMemoryList.parse(answer)
        try:
            verify_signature(
                session.public_key,
                MEMORY_LIST_SIGNATURE,
                signed.memory.to_json(),
                signed.signature,
            )
        except SignatureInvalid as error:
            raise ServerIdentityMismatch(
                "what is remembered is not signed by the server that the job pins"
            ) from error
        memory = signed.memory
        if (memory.session, memory.input) != (session.session.session, granted.name):
            raise BindingMismatch("what is remembered was signed for another session or input")
        return memory

    def _compare(
        self,
        session: OpenSession,
        granted: GrantedInput,
        remembered: MemoryList,
        found: Population,
    ) -> tuple[int | None, list[int]]:
        """Return the record with the same sets, if there is one, and those that are too close."""
        same, close = None, []
        for record in remembered.records:
            if not self._opens(record, granted, remembered, found):
                if self._groups_unknown(record, found) or sizes_too_close(
                    found.people, record.people, self._smallest
                ):
                    close.append(record.number)
                continue
            sets = read_sets(self._read(session, granted, record))
            assert found.sets is not None  # noqa: S101 - or it could not be compared
            if sets.equals(found.sets):
                same = record.number
            elif too_close(found.sets, sets, self._smallest):
                close.append(record.number)
        return same, close

    def _opens(
        self,
        record: MemoryRecord,
        granted: GrantedInput,
        remembered: MemoryList,
        found: Population,
    ) -> bool:
        if found.sets is None or record.sealed is None or record.entity != granted.entity:
            return False
        if record.entity is None and record.basis != remembered.basis:
            return False
        return all(self._secret(server) is not None for server in record.servers)

    def _groups_unknown(self, record: MemoryRecord, found: Population) -> bool:
        """Tell whether groups were, or are to be, released that an absent owner's secret hides.

        Populations of very different sizes can have groups that differ by one person, and whoever
        asks chooses which owners a job has.
        """
        absent = any(self._secret(server) is None for server in record.servers)
        return absent and (record.groups or found.groups)

    def _secret(self, server: str) -> bytes | None:
        session = self._sessions.get(server)
        return None if session is None else session.memory

    def _read(self, session: OpenSession, granted: GrantedInput, record: MemoryRecord) -> bytes:
        path = f"/v1/memory/{self._identity.run}/{granted.name}/{record.number}"
        with control_channel(session.endpoint) as channel:
            sealed = channel.get_bytes(path, self._headers(session), most_bytes=MOST_SEALED_BYTES)
        if not hmac.compare_digest(hashlib.sha256(sealed).hexdigest(), record.sealed or ""):
            raise SealBroken("what is remembered is not what the server signed")
        key = self._key(record.servers, record.salt)
        return open_blob(key, _context(granted, record.salt), sealed, what="a remembered record")

    def _key(self, servers: list[str], salt: str) -> bytes:
        parts = [self._secret(server) for server in sorted(servers)]
        return derive_memory_key([part for part in parts if part is not None], salt)

    def _statement(
        self,
        granted: GrantedInput,
        remembered: MemoryList,
        found: Population,
        same: int | None,
        close: list[int],
    ) -> MemorySubmission:
        salt = secrets.token_hex(16)
        sealed = None if same is not None else self._seal(granted, found, salt)
        statement = MemoryStatement(
            clf=1,
            type="memory",
            run=self._identity.run,
            job=self._identity.job.digest,
            input=granted.name,
            head=remembered.head,
            people=list(found.people),
            salt=salt,
            sealed=None if sealed is None else hashlib.sha256(sealed).hexdigest(),
            same=same,
            close=close,
        )
        signature = self._identity.signing.sign(MEMORY_SIGNATURE, statement.to_json())
        return MemorySubmission(statement=statement, signature=signature, sealed=sealed)

    def _seal(self, granted: GrantedInput, found: Population, salt: str) -> bytes | None:
        """Seal sets to all owners together; None where an owner gives no secret for that."""
        plain = found.to_bytes()
        servers = self._identity.job.servers()
        if plain is None or any(self._secret(server) is None for server in servers):
            return None
        encryptor = Cobblestone256Encryptor(self._key(servers, salt), _context(granted, salt))
        sealed: bytes = encryptor.update(plain) + encryptor.finalize()
        return sealed if len(sealed) <= MOST_SEALED_BYTES else None

    def _submit(self, session: OpenSession, submission: MemorySubmission) -> bool:
        headers = self._headers(session) | {"Content-Type": "application/json"}
        path = f"/v1/memory/{self._identity.run}"
        with control_channel(session.endpoint) as channel:
            answer = channel.call("POST", path, submission.canonical(), headers)
        return MemoryAnswer.parse(answer).review


def _context(granted: GrantedInput, salt: str) -> bytes:
    document = {"clf": 1, "type": "memory-record", "table": granted.table, "salt": salt}
    return canonical_json(document)
