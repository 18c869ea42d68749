from __future__ import annotations

import hashlib
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clf_sdk.audit import (
    Frontier,
    Node,
    consistency_ranges,
    fold,
    inclusion_ranges,
    leaf_hash,
    subtrees,
    verify_consistency,
    verify_inclusion,
)
from clf_sdk.errors import LogAltered, LogInconsistent

# The eight leaves of Certificate Transparency's reference implementation, and the roots over the
# first n of them, which verifiers in many languages test themselves with.
LEAVES = [
    bytes.fromhex(leaf)
    for leaf in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    bytes.fromhex(root)
    for root in (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    )
]
MOST = 40
ENTRIES = [bytes([number]) for number in range(MOST)]


@cache
def mth(start: int, end: int) -> bytes:
    """MTH of RFC 6962 §2.1, to the letter, over some of ENTRIES."""
    size = end - start
    if size == 0:
        return hashlib.sha256().digest()
    if size == 1:
        return hashlib.sha256(b"\x00" + ENTRIES[start]).digest()
    k = max(1 << bit for bit in range(6) if 1 << bit < size)
    return hashlib.sha256(b"\x01" + mth(start, start + k) + mth(start + k, end)).digest()


def path(index: int, size: int) -> list[bytes]:
    return [mth(*each) for each in inclusion_ranges(index, size)]


def between(first: int, second: int) -> list[bytes]:
    return [mth(*each) for each in consistency_ranges(first, second)]


@pytest.mark.parametrize("size", range(9))
def test_published_roots(size: int) -> None:
    tree = Frontier()
    for leaf in LEAVES[:size]:
        tree.append(leaf_hash(leaf))
    assert tree.root == ROOTS[size]


def test_published_inclusion_proof() -> None:
    # RFC 6962 §2.1.3: "The audit path for d0 is [b, h, l]", in its tree of seven leaves.
    assert inclusion_ranges(0, 7) == [(1, 2), (2, 4), (4, 7)]
    assert inclusion_ranges(3, 7) == [(2, 3), (0, 2), (4, 7)]  # [c, g, l]
    assert inclusion_ranges(4, 7) == [(5, 6), (6, 7), (0, 4)]  # [f, j, k]
    assert inclusion_ranges(6, 7) == [(4, 6), (0, 4)]  # [i, k]


def test_published_consistency_proofs() -> None:
    assert consistency_ranges(3, 7) == [(2, 3), (3, 4), (0, 2), (4, 7)]  # [c, d, g, l]
    assert consistency_ranges(4, 7) == [(4, 7)]  # [l]
    assert consistency_ranges(6, 7) == [(4, 6), (6, 7), (0, 4)]  # [i, j, k]


@pytest.mark.parametrize("size", range(MOST + 1))
def test_root_is_that_of_the_definition(size: int) -> None:
    tree = Frontier()
    nodes: dict[Node, bytes] = {}
    for entry in ENTRIES[:size]:
        nodes |= dict(tree.append(leaf_hash(entry)))
    assert tree.root == mth(0, size)
    kept = [nodes[node] for node in subtrees(0, size)]
    assert Frontier(size, kept).root == tree.root
    for start, end in {each for index in range(size) for each in inclusion_ranges(index, size)}:
        assert fold([nodes[node] for node in subtrees(start, end)]) == mth(start, end)


@pytest.mark.parametrize("size", range(1, MOST + 1))
def test_every_inclusion_is_proved_and_nothing_else(size: int) -> None:
    root = mth(0, size)
    for index in range(size):
        leaf, proof = leaf_hash(ENTRIES[index]), path(index, size)
        right: dict[str, Any] = {
            "leaf": leaf,
            "index": index,
            "size": size,
            "proof": proof,
            "root": root,
        }
        verify_inclusion(**right)
        wrong: list[dict[str, Any]] = [
            {"leaf": leaf_hash(b"other")},
            {"root": mth(0, size - 1)},
            {"proof": [*proof, root]},
            {"index": size},
            {"index": -1},
            *({"proof": proof[:n] + proof[n + 1 :]} for n in range(len(proof))),
            *({"proof": [*proof[:n], root, *proof[n + 1 :]]} for n in range(len(proof))),
            *({"index": other} for other in range(size) if other != index),
        ]
        for change in wrong:
            with pytest.raises(LogAltered):
                verify_inclusion(**(right | change))


@pytest.mark.parametrize("second", range(1, MOST + 1))
def test_every_continuation_is_proved_and_nothing_else(second: int) -> None:
    for first in range(1, second):
        proof = between(first, second)
        right: dict[str, Any] = {
            "first": first,
            "first_root": mth(0, first),
            "second": second,
            "second_root": mth(0, second),
            "proof": proof,
        }
        verify_consistency(**right)
        wrong: list[dict[str, Any]] = [
            {"first_root": mth(0, first - 1)},
            {"second_root": mth(0, second - 1)},
            {"first_root": mth(0, second), "second_root": mth(0, first)},
            {"first": second + 1},
            {"proof": []},
            {"proof": [*proof, mth(0, 1)]},
            *({"proof": proof[:n] + proof[n + 1 :]} for n in range(len(proof))),
            *({"proof": [*proof[:n], b"\0" * 32, *proof[n + 1 :]]} for n in range(len(proof))),
        ]
        for change in wrong:
            with pytest.raises(LogInconsistent):
                verify_consistency(**(right | change))


def test_nothing_and_itself_need_no_proof() -> None:
    empty, root = mth(0, 0), mth(0, 5)
    verify_consistency(first=0, first_root=empty, second=5, second_root=root, proof=[])
    verify_consistency(first=5, first_root=root, second=5, second_root=root, proof=[])
    for first, first_root, proof in ((0, root, []), (5, mth(0, 4), []), (5, root, [root])):
        with pytest.raises(LogInconsistent):
            verify_consistency(
                first=first, first_root=first_root, second=5, second_root=root, proof=proof
            )


@given(st.integers(1, 1 << 50), st.data())
def test_proofs_stay_short_in_large_logs(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    ranges = inclusion_ranges(index, size)
    assert len(ranges) <= size.bit_length()
    covered = sorted([*ranges, (index, index + 1)])
    assert covered[0][0] == 0
    assert covered[-1][1] == size
    assert all(left[1] == right[0] for left, right in pairwise(covered))
    for start, end in ranges:
        pieces = list(subtrees(start, end))
        assert len(pieces) <= 50
        assert sum(1 << level for level, _ in pieces) == end - start
