from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest

from clf_sdk._identity import own_identity_path
from clf_testing import MemoryKeyring


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Make the user one without an identity, and return where its file will be."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    own = own_identity_path()
    assert tmp_path in own.parents
    return own


@pytest.fixture
def memory_keyring() -> Iterator[MemoryKeyring]:
    before, ours = keyring.get_keyring(), MemoryKeyring()
    keyring.set_keyring(ours)
    yield ours
    keyring.set_keyring(before)
