"""One entry, shown to somebody who does not see the others (docs/protocol.md §14.5)."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from clf_sdk._cards import Identifier, Shown, card
from clf_sdk._job_words import moment
from clf_sdk.audit._checkpoint import Checkpoint
from clf_sdk.audit._export import check_server
from clf_sdk.audit._merkle import leaf_hash, verify_inclusion
from clf_sdk.errors import ConfigurationError, Malformed, TooLarge
from clf_sdk.protocol import AuditEntry, AuditProof, parse_json

_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class VerifiedEntry:
    """An entry that stands in a signed log.

    Attributes
    ----------
    checkpoint
        The signed state of the log that holds it.
    entry
        What the server decided.
    """

    checkpoint: Checkpoint
    entry: AuditEntry

    def __repr__(self) -> str:
        warning = ", INSECURE SIMULATION" if self.entry.mode == "simulation" else ""
        entry, server = self.entry, self.checkpoint.server
        return f"VerifiedEntry({entry.index}, {entry.event!r}, server={server[:12]}…{warning})"

    def _repr_html_(self) -> str:
        entry = self.entry
        rows: dict[str, Shown] = {
            "server id": Identifier(self.checkpoint.server),
            "entry": f"{entry.index:,} of {self.checkpoint.size:,}",
            "time": moment(entry.time),
        }
        for name, value in entry.details.items():
            rows[name] = json.dumps(value, ensure_ascii=False)
        simulation = entry.mode == "simulation"
        return card("Audit entry", entry.event, rows, simulation=simulation)


def check_proof(proof: AuditProof, *, server: str | None = None) -> VerifiedEntry:
    """Check that an entry stands in the log of a server.

    Parameters
    ----------
    proof
        The proof.
    server
        Id of the server whose log it must be; without it the caller must look at
        ``checkpoint.server``.

    Raises
    ------
    ServerIdentityMismatch
        It is about the log of another server.
    SignatureInvalid
        The checkpoint is not signed by the server.
    LogAltered
        The entry is not in the log.
    """
    check_server(proof, server)
    checkpoint = Checkpoint.verify(proof.checkpoint, public_key=proof.public_key)
    verify_inclusion(
        leaf_hash(proof.entry.canonical()),
        index=proof.entry.index,
        size=checkpoint.size,
        proof=proof.hashes,
        root=checkpoint.root,
    )
    return VerifiedEntry(checkpoint, proof.entry)


def verify_proof(path: str | os.PathLike[str], *, server: str | None = None) -> VerifiedEntry:
    """Verify the proof of one entry with nothing but its file.

    Parameters
    ----------
    path
        The file, as ``clf audit prove`` writes it.
    server
        As in `check_proof`.

    Raises
    ------
    ConfigurationError
        The file can't be read.
    Malformed
        It is not a proof.
    ServerIdentityMismatch, SignatureInvalid, LogAltered
        As in `check_proof`.
    """
    data = _read(path)
    if len(data) > _MOST_BYTES:
        raise TooLarge(f"{path} is too large for the proof of one audit entry")
    return check_proof(AuditProof.parse(parse_json(data, what="audit proof")), server=server)


def is_proof(path: str | os.PathLike[str]) -> bool:
    """Tell a proof of one entry from other files, by the type that its first line states.

    Raises
    ------
    ConfigurationError
        The file can't be read.
    """
    try:
        document = parse_json(_read(path).split(b"\n")[0], what="audit proof")
    except Malformed:
        return False
    return isinstance(document, dict) and document.get("type") == "audit-proof"


def _read(path: str | os.PathLike[str]) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{path} can't be read: {error.strerror}") from error
