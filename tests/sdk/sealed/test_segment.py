"""must: a segment opens under one key, in one place, to one plaintext."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from clf_sdk.errors import SealBroken, TooLarge
from clf_sdk.sealed import _segment
from clf_sdk.sealed._segment import (
    BLOCK_BYTES,
    SEAL_BYTES,
    SegmentEncryptor,
    open_segment_into,
    segment_context,
    segment_plaintext_size,
)

KEY = bytes(range(32))
CONTEXT = segment_context("t", "ab" * 16, "a", 0)
PLAINTEXT = b"".join(hashlib.sha256(bytes([number])).digest() for number in range(100))


def _seal(plaintext: bytes, *, key: bytes = KEY, cuts: tuple[int, ...] = ()) -> bytes:
    encryptor = SegmentEncryptor(key, CONTEXT)
    sealed = bytearray(encryptor.header)
    for start, stop in zip((0, *cuts), (*cuts, len(plaintext)), strict=True):
        out = memoryview(bytearray(stop - start + BLOCK_BYTES))
        count = encryptor.update_into(memoryview(plaintext)[start:stop], out)
        sealed += out[:count]
    return bytes(sealed + encryptor.finalize())


def _open(segment: bytes, *, key: bytes = KEY, context: bytes = CONTEXT) -> bytes:
    out = bytearray(segment_plaintext_size(len(segment)))
    open_segment_into(key, context, segment, memoryview(out), what="it")
    return bytes(out)


@pytest.mark.parametrize("cuts", [(), (1,), (7, 7, 16, 33, 1000), (len(PLAINTEXT),)])
def test_it_may_be_sealed_in_any_pieces(cuts: tuple[int, ...]) -> None:
    segment = _seal(PLAINTEXT, cuts=cuts)
    assert len(segment) == len(PLAINTEXT) + SEAL_BYTES
    assert _open(segment) == PLAINTEXT


def test_an_empty_one_opens() -> None:
    assert _open(_seal(b"")) == b""


def test_equal_plaintexts_have_different_keys() -> None:
    first, second = _seal(bytes(1000)), _seal(bytes(1000))
    assert first[:32] != second[:32]
    assert first[32:64] != second[32:64]
    assert first[64:] != second[64:]


def test_it_opens_under_its_key_and_in_its_place_alone() -> None:
    segment = _seal(PLAINTEXT)
    with pytest.raises(SealBroken):
        _open(segment, key=bytes(32))
    for place in (("u", "ab" * 16, "a", 0), ("t", "cd" * 16, "a", 0), ("t", "ab" * 16, "b", 0)):
        with pytest.raises(SealBroken):
            _open(segment, context=segment_context(*place))
    with pytest.raises(SealBroken):
        _open(segment, context=segment_context("t", "ab" * 16, "a", 1))


def test_a_ciphertext_that_opens_under_two_keys_is_refused_under_the_second() -> None:
    """GCM does not tie a ciphertext to a key, so whoever has both keys can make one for both.

    Here the second key's tag is right, as a forger could make it: the commitment alone refuses.
    """
    segment = _seal(PLAINTEXT)
    other = bytes(reversed(KEY))
    hkdf = HKDF(hashes.SHA256(), length=64, salt=segment[:32], info=b"clf/1 segment\0" + CONTEXT)
    authentic = AESGCM(hkdf.derive(other)[:32]).encrypt(bytes(12), PLAINTEXT, None)
    forged = segment[:64] + authentic
    with pytest.raises(SealBroken):
        _open(forged, key=other)


def test_a_commitment_of_the_right_key_does_not_replace_the_tag() -> None:
    segment = _seal(PLAINTEXT)
    with pytest.raises(SealBroken):
        _open(segment[:-1] + bytes([segment[-1] ^ 1]))


@pytest.mark.parametrize("size", [0, 1, SEAL_BYTES - 1, (1 << 31) + SEAL_BYTES, 1 << 60])
def test_impossible_lengths_are_refused_before_memory_is_taken(size: int) -> None:
    with pytest.raises(SealBroken, match="impossible length"):
        segment_plaintext_size(size)


def test_what_one_segment_can_not_carry_is_refused_with_a_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_segment, "MOST_PLAINTEXT_BYTES", len(PLAINTEXT) - 1)
    with pytest.raises(TooLarge, match="2 GiB") as caught:
        _seal(PLAINTEXT, cuts=(100,))
    assert "rows" in (caught.value.hint or "")
