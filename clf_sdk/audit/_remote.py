"""The audit log at its server: checked at every look, and against what was seen before."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from clf_sdk._succession import former_keys
from clf_sdk.audit._checkpoint import Checkpoint
from clf_sdk.audit._entries import check_entries, parse_entry, rolled_back
from clf_sdk.audit._export import VerifiedLog, read_earlier, summarise, write_export
from clf_sdk.audit._files import replacing
from clf_sdk.audit._merkle import Frontier, inclusion_ranges, verify_consistency
from clf_sdk.audit._proof import VerifiedEntry, check_proof
from clf_sdk.audit._seen import load_seen, save_seen, seen_path
from clf_sdk.errors import (
    LogAltered,
    LogInconsistent,
    Malformed,
    NotFound,
    ServerIdentityMismatch,
)
from clf_sdk.keys import server_id
from clf_sdk.protocol import AuditEntry, AuditProof, MerkleProof, SignedCheckpoint, SignedSuccession

if TYPE_CHECKING:
    from clf_sdk._http import HttpClient

_PAGE = 1000


class RemoteLog:
    """The audit log of a server, for its owner.

    The newest checkpoint that this user saw of each server is kept in the user's state directory,
    and a log that does not continue it is refused: whoever rolls a server's database back is found
    out at the next look.

    Parameters
    ----------
    http
        Connection to the server, with an owner's token.
    server
        Id of the server whose log it must be.
    successions
        How it came to this identity; what was seen under one before must be continued too.
    """

    def __init__(
        self, http: HttpClient, server: str, successions: Sequence[SignedSuccession] = ()
    ) -> None:
        self._http = http
        self._server = server
        self._successions = successions
        self._before = former_keys(successions, server=server)

    def tail(self, count: int) -> list[AuditEntry]:
        """Return the newest entries, verified without those before them.

        Raises
        ------
        LogAltered
            They are not what the server signed.
        LogInconsistent
            The log does not continue the one that was seen before.
        """
        checkpoint, _ = self._checkpoint()
        start = max(0, checkpoint.size - count)
        before = self._frontier(start, checkpoint.size)
        lines = self._lines(start, checkpoint.size)
        return list(check_entries(lines, checkpoint, before=before))

    def verify(self, *, against: str | os.PathLike[str] | None = None) -> VerifiedLog:
        """Verify the whole log.

        Parameters
        ----------
        against
            File with an earlier checkpoint, or an earlier export, which the log must continue.

        Raises
        ------
        AuditError
            The log was altered, or rolled back.
        """
        checkpoint, public_key = self._checkpoint()
        earlier = None
        if against is not None:
            earlier = read_earlier(against, [public_key, *self._before.values()])
        lines = self._lines(0, checkpoint.size)
        return summarise(check_entries(lines, checkpoint, earlier=earlier), checkpoint)

    def export(self, path: str | os.PathLike[str]) -> VerifiedLog:
        """Verify the whole log, and write it to a file that `verify_export` reads.

        Raises
        ------
        AuditError
            The log was altered, or rolled back; nothing is written.
        """
        checkpoint, public_key = self._checkpoint()
        lines = self._lines(0, checkpoint.size)
        return write_export(
            path, lines, checkpoint, public_key=public_key, successions=self._successions
        )

    def prove(self, index: int, path: str | os.PathLike[str]) -> VerifiedEntry:
        """Write one entry and the proof that it stands in the log to a file for `verify_proof`.

        Raises
        ------
        NotFound
            The log has no such entry.
        AuditError
            The log was altered, or rolled back; nothing is written.
        """
        checkpoint, public_key = self._checkpoint()
        if not 0 <= index < checkpoint.size:
            raise NotFound(f"the log has {checkpoint.size} entries, and none of number {index}")
        (line,) = self._lines(index, index + 1)
        proof = AuditProof(
            clf=1,
            type="audit-proof",
            server=checkpoint.server,
            public_key=public_key,
            checkpoint=checkpoint.note,
            entry=parse_entry(line, index),
            hashes=self._inclusion(index, checkpoint.size),
        )
        verified = check_proof(proof)
        with replacing(path) as file:
            file.write(proof.canonical() + b"\n")
        return verified

    def _checkpoint(self) -> tuple[Checkpoint, bytes]:
        """Return the current checkpoint, which continues the one seen last, and its key."""
        signed = self._http.ask(SignedCheckpoint, "GET", "/v1/audit/checkpoint")
        if server_id(signed.public_key) != self._server:
            raise ServerIdentityMismatch("the audit log is that of another server")
        checkpoint = Checkpoint.verify(signed.checkpoint, public_key=signed.public_key)
        seen = load_seen(self._server, public_key=signed.public_key)
        for server, key in self._before.items():
            seen = seen or load_seen(server, public_key=key)
        if seen is not None:
            self._check_continues(seen, checkpoint)
        save_seen(checkpoint)
        return checkpoint, signed.public_key

    def _check_continues(self, seen: Checkpoint, checkpoint: Checkpoint) -> None:
        if checkpoint.size < seen.size:
            raise rolled_back(checkpoint, seen, kept=seen_path(seen.server))
        proof: list[bytes] = []
        if 0 < seen.size < checkpoint.size:
            params = {"first": seen.size, "second": checkpoint.size}
            proof = self._http.ask(
                MerkleProof, "GET", "/v1/audit/consistency", params=params
            ).hashes
        try:
            verify_consistency(
                first=seen.size,
                first_root=seen.root,
                second=checkpoint.size,
                second_root=checkpoint.root,
                proof=proof,
            )
        except LogInconsistent as error:
            raise LogInconsistent(
                f"the log does not continue the one of {seen.size} entries that was seen before",
                hint="it was rewritten, or rolled back and continued: ask the server's operator; "
                f"{seen_path(seen.server)} is the evidence, keep it",
            ) from error

    def _inclusion(self, index: int, size: int) -> list[bytes]:
        params = {"index": index, "size": size}
        return self._http.ask(MerkleProof, "GET", "/v1/audit/inclusion", params=params).hashes

    def _frontier(self, start: int, size: int) -> Frontier:
        """Return the right edge of the tree before an entry, from the entry's inclusion proof."""
        if start == 0:
            return Frontier()
        proof = self._inclusion(start, size)
        ranges = inclusion_ranges(start, size)
        if len(proof) != len(ranges):
            raise LogAltered("the server's inclusion proof has another length than it must have")
        left = [hash_ for (_, end), hash_ in zip(ranges, proof, strict=True) if end <= start]
        return Frontier(start, left[::-1])

    def _lines(self, start: int, end: int) -> Iterator[bytes]:
        """Yield the canonical JSON of entries, page by page."""
        while start < end:
            params = {"start": start, "limit": min(_PAGE, end - start)}
            page = self._http.send("GET", "/v1/audit/entries", params=params)
            lines = page.split(b"\n")
            if lines.pop() != b"" or not lines:
                raise Malformed("the server's page of audit entries is empty or cut")
            yield from lines
            start += len(lines)
