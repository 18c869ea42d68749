from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from clf_sdk.audit import Checkpoint, RemoteLog, verify_export
from clf_sdk.errors import (
    ClfError,
    ConfigurationError,
    FormatTooNew,
    LogAltered,
    LogInconsistent,
    Malformed,
    ServerIdentityMismatch,
    SignatureInvalid,
)
from clf_sdk.keys import SigningKey
from clf_sdk.protocol import canonical_json
from clf_testing import LocalServer


@pytest.fixture
def exported(filled: LocalServer, log: RemoteLog, tmp_path: Path) -> Path:
    path = tmp_path / "log.jsonl"
    assert log.export(path).checkpoint.server == filled.server_id
    return path


def rewrite(path: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    lines = path.read_bytes().split(b"\n")[:-1]
    path.write_bytes(b"".join(line + b"\n" for line in change(lines)))


def test_export_is_verified_with_nothing_but_its_file(exported: Path, filled: LocalServer) -> None:
    verified = verify_export(exported)
    assert verified.checkpoint.server == filled.server_id
    assert verified.checkpoint.size == 11
    assert verified.events == {"table.shared": 11}
    assert verified.first_time == verified.last_time == int(filled.clock.now)
    assert verified.simulation
    assert "INSECURE SIMULATION" in repr(verified)
    assert exported.stat().st_mode & 0o777 == 0o600


def test_every_flipped_byte_is_noticed(exported: Path) -> None:
    whole = exported.read_bytes()
    for place in range(0, len(whole), 7):
        exported.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ClfError):
            verify_export(exported)


EDITS: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "edited": lambda lines: [line.replace(b'"n":3', b'"n":4') for line in lines],
    "dropped": lambda lines: lines[:5] + lines[6:],
    "first dropped": lambda lines: lines[:1] + lines[2:],
    "truncated": lambda lines: lines[:-1],
    "emptied": lambda lines: lines[:1],
    "reordered": lambda lines: [*lines[:4], lines[5], lines[4], *lines[6:]],
    "repeated": lambda lines: [*lines, lines[-1]],
    "renumbered": lambda lines: [
        *lines[:-2],
        lines[-1].replace(b'"index":10', b'"index":9'),
    ],
    "appended": lambda lines: [*lines, lines[-1].replace(b'"index":10', b'"index":11')],
}


@pytest.mark.parametrize("edit", EDITS)
def test_altered_log_is_refused(exported: Path, edit: str) -> None:
    rewrite(exported, EDITS[edit])
    with pytest.raises(LogAltered):
        verify_export(exported)


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[:0],
        lambda lines: lines[1:],
        lambda lines: [b"[]", *lines[1:]],
        lambda lines: [lines[0], b"", *lines[1:]],
        lambda lines: [*lines[:3], lines[3].replace(b",", b", ", 1), *lines[4:]],
        lambda lines: [*lines[:3], b'{"clf":1,' + lines[3][1:], *lines[4:]],
        lambda lines: [*lines[:3], b"x" * (2 << 20), *lines[4:]],
    ],
)
def test_other_files_are_malformed(
    exported: Path, change: Callable[[list[bytes]], list[bytes]]
) -> None:
    rewrite(exported, change)
    with pytest.raises(Malformed):
        verify_export(exported)


def test_cut_in_the_middle_of_a_line_is_malformed(exported: Path) -> None:
    exported.write_bytes(exported.read_bytes()[:-1])
    with pytest.raises(Malformed, match="cut"):
        verify_export(exported)


def test_later_format_is_told_to_upgrade(exported: Path) -> None:
    rewrite(exported, lambda lines: [lines[0].replace(b'"clf":1', b'"clf":2'), *lines[1:]])
    with pytest.raises(FormatTooNew):
        verify_export(exported)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nothing"):
        verify_export(tmp_path / "nothing.jsonl")


def test_log_of_another_server_is_refused(exported: Path, filled: LocalServer) -> None:
    verify_export(exported, server=filled.server_id)
    with pytest.raises(ServerIdentityMismatch):
        verify_export(exported, server="00" * 32)


def test_log_signed_anew_by_an_impostor_is_that_of_another_server(
    exported: Path, filled: LocalServer
) -> None:
    impostor = SigningKey.generate()
    header = json.loads(exported.read_bytes().split(b"\n")[0])
    checkpoint = Checkpoint.verify(
        header["checkpoint"], public_key=filled.state.identity.public_bytes
    )
    forged = Checkpoint.sign(impostor, size=11, root=checkpoint.root)

    def claim(**changes: str) -> None:
        line = canonical_json(header | {"checkpoint": forged.note} | changes)
        rewrite(exported, lambda lines: [line, *lines[1:]])

    claim()
    with pytest.raises(SignatureInvalid):
        verify_export(exported)
    claim(server=forged.server)
    with pytest.raises(ServerIdentityMismatch):
        verify_export(exported)


def test_export_continues_an_earlier_one(
    exported: Path, filled: LocalServer, log: RemoteLog, tmp_path: Path
) -> None:
    note = tmp_path / "old.checkpoint"
    note.write_text(verify_export(exported).checkpoint.note)
    filled.state.audit.append("table.dropped", {})
    later = tmp_path / "later.jsonl"
    log.export(later)
    for earlier in (note, exported, later):
        assert verify_export(later, against=earlier).checkpoint.size == 12
    with pytest.raises(LogInconsistent, match="has 11 entries, and had 12"):
        verify_export(exported, against=later)


@pytest.mark.parametrize("size", [1, 7, 11])
def test_rewritten_log_that_the_server_signed_is_no_continuation(
    exported: Path, filled: LocalServer, tmp_path: Path, size: int
) -> None:
    note = tmp_path / "old.checkpoint"
    earlier = Checkpoint.sign(filled.state.identity, size=size, root=bytes(32))
    note.write_text(earlier.note)
    with pytest.raises(LogInconsistent, match=f"first {size} entries"):
        verify_export(exported, against=note)


def test_earlier_checkpoint_must_be_the_server_s_own(exported: Path, tmp_path: Path) -> None:
    note = tmp_path / "old.checkpoint"
    note.write_text(Checkpoint.sign(SigningKey.generate(), size=1, root=bytes(32)).note)
    with pytest.raises(SignatureInvalid):
        verify_export(exported, against=note)
    for junk in (b"", b"\xff\xfe", b"{}\n", b"x" * 100):
        note.write_bytes(junk)
        with pytest.raises(Malformed):
            verify_export(exported, against=note)
