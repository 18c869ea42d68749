from __future__ import annotations

from pathlib import Path

import pytest

from clf_sdk.errors import ConfigurationError, FormatTooNew, SealBroken
from clf_server._kek import FileKek

CONTEXT = {"clf": 1, "type": "table-key", "table": "plans"}


@pytest.fixture
def kek(tmp_path: Path) -> FileKek:
    FileKek.create(tmp_path / "kek.key")
    return FileKek(tmp_path / "kek.key")


def test_round_trip_is_never_twice_the_same(kek: FileKek) -> None:
    wrapped = [kek.wrap(b"k" * 32, CONTEXT) for _ in range(2)]
    assert wrapped[0] != wrapped[1]
    assert {kek.unwrap(each, CONTEXT) for each in wrapped} == {b"k" * 32}


def test_wrapped_key_opens_in_its_own_context_only(kek: FileKek) -> None:
    wrapped = kek.wrap(b"k" * 32, CONTEXT)
    with pytest.raises(SealBroken):
        kek.unwrap(wrapped, CONTEXT | {"table": "visits"})


def test_wrapped_key_does_not_open_under_another_kek(kek: FileKek, tmp_path: Path) -> None:
    FileKek.create(tmp_path / "other.key")
    with pytest.raises(SealBroken, match="key-encryption key"):
        FileKek(tmp_path / "other.key").unwrap(kek.wrap(b"k" * 32, CONTEXT), CONTEXT)


def test_unknown_marker_is_too_new(kek: FileKek) -> None:
    with pytest.raises(FormatTooNew, match="later version"):
        kek.unwrap("clf2-" + kek.wrap(b"k" * 32, CONTEXT)[5:], CONTEXT)


def test_changed_bytes_do_not_open(kek: FileKek) -> None:
    marker, _, encoded = kek.wrap(b"k" * 32, CONTEXT).partition(":")
    flipped = ("A" if encoded[0] != "A" else "B") + encoded[1:]
    for damaged in (flipped, encoded[:8], "", "not base64!"):
        with pytest.raises(SealBroken):
            kek.unwrap(f"{marker}:{damaged}", CONTEXT)


def test_missing_key_says_what_is_lost(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be read") as caught:
        FileKek(tmp_path / "kek.key")
    assert "backup" in str(caught.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_key_that_others_can_read_is_refused(kek: FileKek, tmp_path: Path, mode: int) -> None:
    assert kek is not None
    (tmp_path / "kek.key").chmod(mode)
    with pytest.raises(ConfigurationError, match="readable by others"):
        FileKek(tmp_path / "kek.key")


def test_key_of_another_length_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kek.key"
    path.touch(mode=0o600)
    path.write_bytes(b"k" * 31)
    with pytest.raises(ConfigurationError, match="32 bytes"):
        FileKek(path)
