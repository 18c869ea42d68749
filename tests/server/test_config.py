from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from clf_sdk.errors import ConfigurationError
from clf_server._config import ServerConfig, load_config

Load = Callable[[str], ServerConfig]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def write_and_load(text: str) -> ServerConfig:
        (tmp_path / "clf_server.conf").write_text(text)
        return load_config(tmp_path)

    return write_and_load


def test_defaults(load: Load, tmp_path: Path) -> None:
    config = load("name = clinic\n")
    assert (config.host, config.port, config.blob_port) == ("127.0.0.1", 4433, 4480)
    assert config.server_cert_path == tmp_path / "tls/server.pem"
    assert config.insecure_simulation is None
    assert config.pccs_url is None
    assert config.max_upload_bytes == 1 << 40


def test_comments_switches_and_paths(load: Load, tmp_path: Path) -> None:
    config = load("# a clinic\nname = clinic\nblob_port = off\ninsecure_simulation = sim.pem\n")
    assert config.blob_port is None
    assert config.insecure_simulation == tmp_path / "sim.pem"


def test_unknown_key_names_the_nearest(load: Load) -> None:
    with pytest.raises(ConfigurationError, match="unknown key 'blob_prot'") as caught:
        load("name = clinic\nblob_prot = 1\n")
    assert caught.value.hint == "did you mean 'blob_port'?"


def test_no_setting_turns_verification_off(load: Load) -> None:
    for key in ("verify", "insecure", "skip_attestation", "insecure_accept_all"):
        with pytest.raises(ConfigurationError, match="unknown key"):
            load(f"name = clinic\n{key} = true\n")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("port = 0", "'port' must be a port"),
        ("port = 65536", "'port' must be a port"),
        ("port = https", "'port' must be a port"),
        ("blob_port = none", "'blob_port' must be a port, or off"),
        ("max_upload_bytes = 0", "'max_upload_bytes' must be a number of bytes"),
        ("port", "is not a configuration file"),
        ("port = 1\nport = 2", "is not a configuration file"),
    ],
)
def test_value_that_can_not_be_used_is_named(load: Load, line: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load(f"name = clinic\n{line}\n")


def test_missing_name_and_missing_file_say_so(load: Load, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="'name' is missing"):
        load("port = 4433\n")
    with pytest.raises(ConfigurationError, match="can't be read") as caught:
        load_config(tmp_path / "nowhere")
    assert "clf server init" in str(caught.value)


def test_bytes_that_are_no_text_are_no_configuration(tmp_path: Path) -> None:
    (tmp_path / "clf_server.conf").write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(ConfigurationError, match="not a configuration file"):
        load_config(tmp_path)
