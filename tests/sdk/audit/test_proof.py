from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clf_sdk.audit import RemoteLog, is_proof, verify_proof
from clf_sdk.errors import (
    ClfError,
    ConfigurationError,
    LogAltered,
    Malformed,
    NotFound,
    ServerIdentityMismatch,
    TooLarge,
)
from clf_sdk.protocol import canonical_json
from clf_testing import LocalServer


@pytest.fixture
def proof(filled: LocalServer, log: RemoteLog, tmp_path: Path) -> Path:
    path = tmp_path / "entry.json"
    assert log.prove(6, path).checkpoint.server == filled.server_id
    return path


def test_entry_is_proved_without_the_others(proof: Path, filled: LocalServer) -> None:
    verified = verify_proof(proof, server=filled.server_id)
    assert verified.entry.details["n"] == 6
    assert verified.checkpoint.size == 11
    assert repr(verified).startswith("VerifiedEntry(6, 'table.shared', server=")
    assert "INSECURE SIMULATION" in repr(verified)
    assert b'"n":5' not in proof.read_bytes()
    assert is_proof(proof)


@pytest.mark.parametrize("index", range(11))
@pytest.mark.usefixtures("filled")
def test_every_entry_can_be_proved(log: RemoteLog, tmp_path: Path, index: int) -> None:
    log.prove(index, tmp_path / "entry.json")
    assert verify_proof(tmp_path / "entry.json").entry.index == index


@pytest.mark.usefixtures("filled")
def test_entry_that_is_not_there_has_no_proof(log: RemoteLog, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="has 11 entries, and none of number 11"):
        log.prove(11, tmp_path / "entry.json")
    assert not (tmp_path / "entry.json").exists()


def test_every_flipped_byte_is_noticed(proof: Path) -> None:
    whole = proof.read_bytes().rstrip(b"\n")
    for place in range(len(whole)):
        proof.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ClfError):
            verify_proof(proof)


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document["entry"].update(index=5),
        lambda document: document["entry"].update(index=12),
        lambda document: document["entry"]["details"].update(n=7),
        lambda document: document["hashes"].pop(),
        lambda document: document["hashes"].reverse(),
    ],
)
def test_other_entries_are_not_proved(
    proof: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    document = json.loads(proof.read_bytes())
    change(document)
    proof.write_bytes(canonical_json(document))
    with pytest.raises(LogAltered):
        verify_proof(proof)


def test_what_is_no_proof_is_named(proof: Path, log: RemoteLog, tmp_path: Path) -> None:
    with pytest.raises(ServerIdentityMismatch):
        verify_proof(proof, server="00" * 32)
    with pytest.raises(ConfigurationError, match="can't be read"):
        verify_proof(tmp_path / "nothing")
    exported = tmp_path / "log.jsonl"
    log.export(exported)
    assert not is_proof(exported)
    for junk, error in ((b"", Malformed), (b"{}", Malformed), (b" " * (2 << 20), TooLarge)):
        proof.write_bytes(junk)
        assert not is_proof(proof)
        with pytest.raises(error):
            verify_proof(proof)
