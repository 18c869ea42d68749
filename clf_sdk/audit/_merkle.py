"""The Merkle tree of RFC 6962 §2.1: hashes, proofs, and their verification.

Positions in a tree are *nodes*: ``(level, index)`` is the complete subtree over the entries
``index << level`` to ``(index + 1 << level) - 1``. A proof is planned as the ranges of entries
whose hashes it lists; a range is the fold of the few complete subtrees that it consists of, so a
log that keeps their hashes proves anything without reading its entries.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from clf_sdk.errors import LogAltered, LogInconsistent

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256().digest()

Node: TypeAlias = tuple[int, int]
"""Level and index of a complete subtree."""

Range: TypeAlias = tuple[int, int]
"""First entry of a subtree, and the one behind its last."""


def leaf_hash(entry: bytes) -> bytes:
    """Hash of an entry."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of the node above two others."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def subtrees(start: int, end: int) -> Iterator[Node]:
    """Complete subtrees that a range consists of, from left to right."""
    while start < end:
        level = (end - start).bit_length() - 1
        yield level, start >> level
        start += 1 << level


def fold(hashes: Sequence[bytes]) -> bytes:
    """Hash of a range from those of its subtrees."""
    folded = hashes[-1]
    for left in reversed(hashes[:-1]):
        folded = node_hash(left, folded)
    return folded


class Frontier:
    """The right edge of a growing tree: all that appending needs, and all that its root needs.

    Parameters
    ----------
    size
        Number of entries.
    hashes
        Hashes of ``subtrees(0, size)``.
    """

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        self.size = size
        self._hashes = list(hashes)

    @property
    def root(self) -> bytes:
        """Root of the tree."""
        return fold(self._hashes) if self._hashes else EMPTY_ROOT

    def append(self, leaf: bytes) -> list[tuple[Node, bytes]]:
        """Add the hash of an entry, and return the subtrees that it completes, itself first."""
        level, index = 0, self.size
        completed = [((level, index), leaf)]
        while index & 1:
            leaf = node_hash(self._hashes.pop(), leaf)
            level, index = level + 1, index >> 1
            completed.append(((level, index), leaf))
        self._hashes.append(leaf)
        self.size += 1
        return completed


def _split(size: int) -> int:
    """Largest power of two below a size."""
    return 1 << (size - 1).bit_length() - 1


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """Ranges whose hashes prove that an entry stands in a tree (RFC 6962 §2.1.1)."""
    start, end = 0, size
    ranges: list[Range] = []
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    return ranges[::-1]


def consistency_ranges(first: int, second: int) -> list[Range]:
    """Ranges whose hashes prove that one tree begins with another (RFC 6962 §2.1.2).

    Both sizes are at least 1; equal sizes need no proof.
    """
    start, end = 0, second
    ranges: list[Range] = []
    while first < end:
        middle = start + _split(end - start)
        if first <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    if start:
        ranges.append((start, end))
    return ranges[::-1]


def verify_inclusion(
    leaf: bytes, *, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that an entry stands in a log (RFC 9162 §2.1.3.2).

    Parameters
    ----------
    leaf
        Hash of the entry.
    index, size
        Where it stands, counted from 0, and how many entries the log has.
    proof
        Hashes, from the entry upwards.
    root
        Root of the log.

    Raises
    ------
    LogAltered
        It does not, as far as this proof shows.
    """
    if not 0 <= index < size:
        raise LogAltered(f"a log of {size} entries has none of number {index}")
    number, last = index, size - 1
    found = leaf
    for sibling in proof:
        if last == 0:
            raise LogAltered("the inclusion proof is longer than the tree is high")
        if number & 1 or number == last:
            found = node_hash(sibling, found)
            while number and not number & 1:
                number, last = number >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        number, last = number >> 1, last >> 1
    if last or found != root:
        raise LogAltered(f"the proof does not lead from entry {index} to the log's root")


def verify_consistency(
    *, first: int, first_root: bytes, second: int, second_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that a log begins with all that an earlier one held (RFC 9162 §2.1.4.2).

    Parameters
    ----------
    first, first_root
        Entries and root of the earlier log.
    second, second_root
        The same of the later one.
    proof
        Hashes, from the bottom upwards.

    Raises
    ------
    LogInconsistent
        It does not, as far as this proof shows.
    """
    if not 0 <= first <= second:
        raise LogInconsistent(f"a log of {second} entries can't continue one of {first}")
    if first in (0, second):
        expected = EMPTY_ROOT if first == 0 else second_root
        if proof or first_root != expected:
            raise LogInconsistent(f"the log has other entries below number {first} than before")
        return
    path = list(proof)
    if first & (first - 1) == 0:
        path.insert(0, first_root)
    if not path:
        raise LogInconsistent("the consistency proof is empty")
    number, last = first - 1, second - 1
    while number & 1:
        number, last = number >> 1, last >> 1
    older = newer = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise LogInconsistent("the consistency proof is longer than the tree is high")
        if number & 1 or number == last:
            older, newer = node_hash(sibling, older), node_hash(sibling, newer)
            while number and not number & 1:
                number, last = number >> 1, last >> 1
        else:
            newer = node_hash(newer, sibling)
        number, last = number >> 1, last >> 1
    if last or older != first_root or newer != second_root:
        raise LogInconsistent(f"the log has other entries below number {first} than before")
