"""Entries of a log, read line by line and checked against a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from clf_sdk.audit._checkpoint import Checkpoint
from clf_sdk.audit._merkle import Frontier, leaf_hash
from clf_sdk.errors import LogAltered, LogInconsistent, Malformed
from clf_sdk.protocol import AuditEntry, parse_json


def parse_entry(line: bytes, index: int) -> AuditEntry:
    """Read an entry in canonical form, which must carry the number of its place.

    Raises
    ------
    Malformed
        It is no entry, or not in canonical form.
    LogAltered
        It has another number.
    """
    entry = AuditEntry.parse(parse_json(line, what=f"audit entry {index}"))
    if entry.canonical() != line:
        raise Malformed(f"audit entry {index} is not in canonical form")
    if entry.index != index:
        raise LogAltered(
            f"entry {entry.index} stands where entry {index} belongs",
            hint="entries were dropped or moved; obtain the log from the server itself",
        )
    return entry


def rolled_back(
    checkpoint: Checkpoint, earlier: Checkpoint, *, kept: Path | None = None
) -> LogInconsistent:
    """Explain a log that is shorter than it was; ``kept`` is the file of the earlier checkpoint."""
    return LogInconsistent(
        f"the log has {checkpoint.size} entries, and had {earlier.size} when the earlier "
        "checkpoint was signed",
        hint="the server's database was rolled back, or restored from a backup: ask its operator"
        + (
            f"; {kept} is the evidence, delete it only when the restore is explained"
            if kept
            else ""
        ),
    )


def _compare(tree: Frontier, earlier: Checkpoint | None) -> None:
    if earlier is not None and tree.size == earlier.size and tree.root != earlier.root:
        raise LogInconsistent(
            f"the first {tree.size} entries are not those that the earlier checkpoint covers",
            hint="the log was rewritten, and signed again: ask the server's operator",
        )


def check_entries(
    lines: Iterable[bytes],
    checkpoint: Checkpoint,
    *,
    before: Frontier | None = None,
    earlier: Checkpoint | None = None,
) -> Iterator[AuditEntry]:
    """Yield the entries of a log, and raise at its end unless they are what was signed.

    Parameters
    ----------
    lines
        Canonical JSON of the entries, in order, up to the last one of the checkpoint.
    checkpoint
        The signed state; its signature was checked.
    before
        Right edge of the tree over the entries before the first line; by default there are none.
    earlier
        A checkpoint of the same log that was signed earlier, at or behind the first line.

    Raises
    ------
    Malformed
        A line is not an entry in canonical form.
    LogAltered
        The entries do not lead to the signed root. What was yielded before must not be used.
    LogInconsistent
        The entries are not those that the earlier checkpoint covered.
    """
    tree = Frontier() if before is None else before
    if earlier is not None and earlier.size > checkpoint.size:
        raise rolled_back(checkpoint, earlier)
    _compare(tree, earlier)
    for line in lines:
        entry = parse_entry(line, tree.size)
        tree.append(leaf_hash(line))
        _compare(tree, earlier)
        yield entry
    if tree.size != checkpoint.size:
        raise LogAltered(
            f"there are {tree.size} entries, the checkpoint covers {checkpoint.size}",
            hint="the log was cut, or entries were added to it; obtain it from the server itself",
        )
    if tree.root != checkpoint.root:
        raise LogAltered(
            "the entries are not those that the server signed",
            hint="at least one was edited; obtain the log from the server itself",
        )
