"""Exported logs: written as they are verified, and verified offline (docs/protocol.md §14.5)."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import ClassVar

from clf_sdk._cards import Identifier, Shown, card, grid
from clf_sdk._job_words import moment
from clf_sdk._not_picklable import NotPicklable
from clf_sdk._succession import former_keys
from clf_sdk.audit._checkpoint import MOST_NOTE_BYTES, Checkpoint
from clf_sdk.audit._entries import check_entries
from clf_sdk.audit._files import replacing
from clf_sdk.errors import (
    ConfigurationError,
    Malformed,
    ServerIdentityMismatch,
    SignatureInvalid,
)
from clf_sdk.keys import server_id
from clf_sdk.protocol import AuditEntry, AuditExportHeader, AuditProof, SignedSuccession, parse_json

_MOST_LINE_BYTES = 1 << 20


@dataclass(frozen=True)
class VerifiedLog(NotPicklable):
    """A log all of whose entries lead to a signed root.

    Attributes
    ----------
    checkpoint
        The signed state: whose log, how many entries, which root.
    events
        How many entries there are of each event.
    first_time, last_time
        Unix seconds of the first and the last entry, by the server's clock; None without entries.
    simulation
        Whether an entry was written under a simulated TEE, which proves nothing.
    """

    _not_pickled: ClassVar[str] = (
        "what was verified can't be carried in bytes that anybody can write; "
        "verify the export again"
    )

    checkpoint: Checkpoint
    events: dict[str, int]
    first_time: int | None
    last_time: int | None
    simulation: bool

    def __repr__(self) -> str:
        warning = ", INSECURE SIMULATION" if self.simulation else ""
        checkpoint = self.checkpoint
        return f"VerifiedLog(server={checkpoint.server[:12]}…, size={checkpoint.size}{warning})"

    def _repr_html_(self) -> str:
        checkpoint = self.checkpoint
        rows: dict[str, Shown] = {
            "server id": Identifier(checkpoint.server),
            "entries": f"{checkpoint.size:,}",
            "root": Identifier(checkpoint.root.hex()),
        }
        if self.first_time is not None and self.last_time is not None:
            rows["time"] = f"{moment(self.first_time)} to {moment(self.last_time)}"
        body = grid(["event", "entries"], list(self.events.items()))
        return card("Audit log", "verified", rows, simulation=self.simulation, body=body)


def summarise(entries: Iterable[AuditEntry], checkpoint: Checkpoint) -> VerifiedLog:
    """Read all entries of `check_entries`, and return what was verified."""
    events: Counter[str] = Counter()
    first = last = None
    simulation = False
    for entry in entries:
        events[entry.event] += 1
        first = entry.time if first is None else first
        last = entry.time
        simulation |= entry.mode == "simulation"
    return VerifiedLog(checkpoint, dict(sorted(events.items())), first, last, simulation)


def verify_export(
    path: str | os.PathLike[str],
    *,
    server: str | None = None,
    against: str | os.PathLike[str] | None = None,
) -> VerifiedLog:
    """Verify an exported log with nothing but its file.

    Parameters
    ----------
    path
        The file, as `clf audit export` writes it.
    server
        Id of the server whose log it must be, now or before it changed its identity: 64 hex
        digits. Without it the file is verified
        under the key that it brings, and the caller must look at ``checkpoint.server``.
    against
        File with an earlier checkpoint, or an earlier export, which the log must continue.

    Raises
    ------
    ConfigurationError
        A file can't be read.
    Malformed
        It is not an export.
    ServerIdentityMismatch
        It is the log of another server.
    SignatureInvalid
        A checkpoint is not signed by the server.
    LogAltered
        Entries were edited, dropped, moved, added or cut off.
    LogInconsistent
        The log does not continue the earlier checkpoint.

    Notes
    -----
    The steps, as docs/protocol.md §14.5 numbers them:

    1. The header is readable, and its server is the hash of its key, and the expected one.
    2. The checkpoint is about this server, and its signature holds; so for the earlier one.
    3. Each line is an entry in canonical form with the number of its place.
    4. There are as many entries as the checkpoint says, and they lead to its root.
    5. The first entries lead to the root of the earlier checkpoint.
    """
    with _open(path) as file:
        # 1. The header is readable, and its server is the hash of its key, and the expected one.
        header = _header(file)
        former = former_keys(header.successions, server=header.server)
        check_server(header, None if server in former else server)

        # 2. The checkpoint is about this server, and its signature holds; so for the earlier one.
        key = header.public_key
        checkpoint = Checkpoint.verify(header.checkpoint, public_key=key)
        earlier = None
        if against is not None:
            earlier = read_earlier(against, [key, *former.values()])

        # 3. Each line is an entry in canonical form with the number of its place.
        # 4. There are as many entries as the checkpoint says, and they lead to its root.
        # 5. The first entries lead to the root of the earlier checkpoint.
        return summarise(check_entries(_lines(file), checkpoint, earlier=earlier), checkpoint)


def write_export(
    path: str | os.PathLike[str],
    lines: Iterable[bytes],
    checkpoint: Checkpoint,
    *,
    public_key: bytes,
    successions: Sequence[SignedSuccession] = (),
) -> VerifiedLog:
    """Write a log to a file, all at once, if its entries are what was signed."""
    header = AuditExportHeader(
        clf=1,
        type="audit-export",
        server=checkpoint.server,
        public_key=public_key,
        checkpoint=checkpoint.note,
        successions=list(successions),
    )
    with replacing(path) as file:

        def written() -> Iterator[bytes]:
            for line in lines:
                file.write(line + b"\n")
                yield line

        file.write(header.canonical() + b"\n")
        return summarise(check_entries(written(), checkpoint), checkpoint)


def check_server(source: AuditExportHeader | AuditProof, server: str | None) -> None:
    """Check that a file brings the key of the server that it names, and of the expected one.

    Raises
    ------
    ServerIdentityMismatch
        It does not.
    """
    signer = server_id(source.public_key)
    if source.server != signer or server not in (None, signer):
        raise ServerIdentityMismatch(
            f"the file is from the log of server {signer[:12]}…, "
            f"not of {(server or source.server)[:12]}…"
        )


def read_earlier(path: str | os.PathLike[str], public_keys: Sequence[bytes]) -> Checkpoint:
    """Read an earlier checkpoint of a log, by one of the identities that its server has had.

    Raises
    ------
    ConfigurationError
        The file can't be read.
    Malformed
        It is something else.
    SignatureInvalid
        None of the keys signed it.
    """
    note = read_checkpoint(path)
    for key in public_keys[1:]:
        with contextlib.suppress(SignatureInvalid):
            return Checkpoint.verify(note, public_key=key)
    return Checkpoint.verify(note, public_key=public_keys[0])


def read_checkpoint(path: str | os.PathLike[str]) -> str:
    """Return the signed note of a checkpoint's file, or of an exported log. Nothing is verified.

    Raises
    ------
    ConfigurationError
        The file can't be read.
    Malformed
        It is something else.
    """
    with _open(path) as file:
        if file.peek(1)[:1] == b"{":
            return _header(file).checkpoint
        note = file.read(MOST_NOTE_BYTES + 1)
    try:
        return note.decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"{path} is neither a checkpoint nor an exported audit log") from error


def _open(path: str | os.PathLike[str]) -> BufferedReader:
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise ConfigurationError(f"{path} can't be read: {error.strerror}") from error


def _line(file: BufferedReader) -> bytes | None:
    """Return the next line without its line feed, or None at the end."""
    line = file.readline(_MOST_LINE_BYTES)
    if not line:
        return None
    if not line.endswith(b"\n"):
        raise Malformed("a line of the exported audit log is cut, or too long")
    return line[:-1]


def _header(file: BufferedReader) -> AuditExportHeader:
    line = _line(file) or b""
    return AuditExportHeader.parse(parse_json(line, what="header of the exported audit log"))


def _lines(file: BufferedReader) -> Iterator[bytes]:
    while (line := _line(file)) is not None:
        yield line
