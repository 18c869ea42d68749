from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_sdk.errors import ConfigurationError
from clf_server._kek_file import create_file_kek
from clf_server._provision import create_server
from clf_server._state import load_state
from clf_testing import LocalServer


def test_second_server_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    directory = create_server(tmp_path / "clinic", name="clinic").directory
    state = load_state(directory)
    with pytest.raises(ConfigurationError, match="another server process runs"):
        load_state(directory)
    state.metadata.close()


@pytest.mark.parametrize("damage", [None, b"", b"x" * 31])
def test_missing_or_damaged_identity_is_named(tmp_path: Path, damage: bytes | None) -> None:
    directory = create_server(tmp_path / "clinic", name="clinic").directory
    (directory / "identity.key").unlink()
    if damage is not None:
        (directory / "identity.key").write_bytes(damage)
    with pytest.raises(ConfigurationError, match="identity key") as caught:
        load_state(directory)
    assert "backup" in str(caught.value)


def test_replaced_kek_is_noticed_at_the_start(
    local: LocalServer, numbers: pa.Table, policy: clf.Policy
) -> None:
    local.upload("plans", numbers, policy)
    (local.directory / "kek.key").unlink()
    create_file_kek(local.directory / "kek.key")
    local.close()
    with pytest.raises(ConfigurationError, match="not the one that wrapped") as caught:
        local.restart()
    assert "backup" in str(caught.value)


def test_collateral_has_one_source(make_local: Callable[..., LocalServer]) -> None:
    local = make_local()
    path = local.directory / "clf_server.conf"
    path.write_text(
        path.read_text() + "\npccs_url = http://localhost:1\ncollateral_file = c.json\n"
    )
    local.close()
    with pytest.raises(ConfigurationError, match="not both"):
        local.restart()
