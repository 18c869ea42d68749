from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from clf_sdk.errors import ConfigurationError
from clf_server._config import ServerConfig, load_config
from clf_server._config_keys import KEYS, render_config

Load = Callable[..., ServerConfig]
REPOSITORY = Path(__file__).parents[2]
SIGNER, PROGRAM = "Ab" * 32, "cd" * 32
EXAMPLES = {
    "name": "clinic",
    "MREnclave": PROGRAM,
    "MRSigner": SIGNER,
    "isv_prod_id": "7",
    "isv_svn": "3",
    "secret": "open = sesame # really",
    "host": "0.0.0.0",  # noqa: S104 - a value that is read, no socket
    "port": "4444",
    "public_host": "clinic.example",
    "blob_port": "off",
    "server_cert_path": "a.pem",
    "server_private_key_path": "/keys/a.key",
    "pccs_url": "https://localhost:8081/sgx/certification/v4/",
    "resume_seconds": "0",
    "max_upload_bytes": "1",
}


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def write_and_load(text: str | bytes, flags: Mapping[str, str] | None = None) -> ServerConfig:
        file = tmp_path / "clf_server.conf"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        file.chmod(0o600)
        return load_config(tmp_path, flags or {})

    return write_and_load


def lines(values: Mapping[str, str]) -> str:
    return "".join(f"{key}={value}\n" for key, value in values.items())


def test_defaults(load: Load, tmp_path: Path) -> None:
    config = load("name = clinic\n")
    assert (config.host, config.port, config.blob_port) == ("127.0.0.1", 4433, 4480)
    assert config.server_cert_path == tmp_path / "tls/server.pem"
    assert config.insecure_simulation is None
    assert config.pccs_url is None
    assert config.max_upload_bytes == 1 << 40
    assert config.pin is None
    assert config.secret is None


def test_keys_of_the_original_have_their_meaning(load: Load, tmp_path: Path) -> None:
    config = load(lines(EXAMPLES))
    assert config.pin is not None
    assert config.pin.to_json() == {
        "mrenclave": PROGRAM,
        "mrsigner": SIGNER.lower(),
        "isv_prod_id": 7,
        "min_isv_svn": 3,
    }
    assert config.secret == b"open = sesame # really"
    assert config.port == 4444
    assert config.server_cert_path == tmp_path / "a.pem"
    assert config.server_private_key_path == Path("/keys/a.key")


def test_secret_stays_out_of_the_repr(load: Load) -> None:
    assert "sesame" not in repr(load(lines(EXAMPLES)))


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.replace("=", " = ").encode(),
        lambda text: ("\t" + text.replace("\n", "  \n\t")).encode(),
        lambda text: text.replace("\n", "\n\n# why\n").encode(),
    ],
    ids=["BOM", "Windows line ends", "spaces", "indented", "comments"],
)
def test_how_an_editor_saves_the_file_does_not_matter(
    load: Load, encode: Callable[[str], bytes]
) -> None:
    values = EXAMPLES | {"secret": "sesame"}
    assert load(encode(lines(values))) == load(lines(values))


def test_flags_stand_above_the_file(load: Load) -> None:
    config = load(lines(EXAMPLES), {"port": "5555", "MREnclave": "ef" * 32, "secret": "other"})
    assert (config.port, config.secret) == (5555, b"other")
    assert config.pin is not None
    assert (config.pin.mrenclave, config.pin.mrsigner) == ("ef" * 32, SIGNER.lower())


def test_flag_that_can_not_be_used_is_named_as_one(load: Load) -> None:
    with pytest.raises(ConfigurationError, match="the command line: 'port' must be a port"):
        load("name=clinic\n", {"port": "0"})


@pytest.mark.parametrize("key", [key.name for key in KEYS])
def test_each_key_may_be_missing_but_the_name(load: Load, key: str) -> None:
    values = {name: value for name, value in EXAMPLES.items() if name != key}
    if key in ("name", "isv_prod_id", "isv_svn", "MREnclave", "MRSigner"):
        values.pop("MREnclave", None)  # then the signer needs all that belongs to it
    if key == "name":
        with pytest.raises(ConfigurationError, match="'name' is missing"):
            load(lines(values))
    elif key in ("isv_prod_id", "isv_svn"):
        with pytest.raises(ConfigurationError, match="MRSigner alone"):
            load(lines(values))
    elif key == "MRSigner":
        with pytest.raises(ConfigurationError, match="alone pin no enclave"):
            load(lines(values))
    else:
        load(lines(values))


@pytest.mark.parametrize("key", [key.name for key in KEYS])
def test_doubled_key_is_named(load: Load, key: str) -> None:
    with pytest.raises(ConfigurationError, match=f"'{key}' is given twice"):
        load(f"{key}=1\nother=1\n{key}=1\n")


@pytest.mark.parametrize("key", [key.name for key in KEYS])
def test_misspelt_key_names_the_nearest(load: Load, key: str) -> None:
    misspelt = key[0] + key[2] + key[1] + key[3:] + "x"
    with pytest.raises(ConfigurationError, match=f"unknown key '{misspelt}'") as caught:
        load(f"name=clinic\n{misspelt}=1\n")
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("did you mean ")
    if key not in ("secret", "secret_file", "port"):
        assert caught.value.hint == f"did you mean {key!r}?"


@pytest.mark.parametrize(
    ("other", "key"), [("mrsigner", "MRSigner"), ("MRENCLAVE", "MREnclave"), ("Port", "port")]
)
def test_key_in_another_case_names_the_right_one(load: Load, other: str, key: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(f"name=clinic\n{other}=1\n")
    assert caught.value.hint == f"did you mean {key!r}?"


def test_no_setting_turns_verification_off(load: Load) -> None:
    for key in ("verify", "insecure", "skip_attestation", "insecure_accept_all"):
        with pytest.raises(ConfigurationError, match="unknown key"):
            load(f"name = clinic\n{key} = true\n")


@pytest.mark.parametrize("key", ["MREnclave", "MRSigner"])
@pytest.mark.parametrize(
    "value", ["0" * 64, "0", "ab", "ab" * 31, "ab" * 33, "xy" * 32, "0x" + "ab" * 31, "any", "*"]
)
def test_measurement_never_means_anything(load: Load, key: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"'{key}' must be 64 hex digits, not all"):
        load(f"name=clinic\nisv_prod_id=1\nisv_svn=1\n{key}={value}\n")


def test_empty_measurement_pins_nothing_and_is_no_wildcard(load: Load) -> None:
    assert load("name=clinic\nMREnclave=\nMRSigner=\nisv_prod_id=\nisv_svn=\n").pin is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("port = 0", "'port' must be a port"),
        ("port = 65536", "'port' must be a port"),
        ("port = https", "'port' must be a port"),
        ("blob_port = none", "'blob_port' must be a port, or off"),
        ("max_upload_bytes = 0", "'max_upload_bytes' must be a number of bytes"),
        ("isv_svn = -1", "'isv_svn' must be a number from 0 to 65535"),
        ("isv_prod_id = 65536", "'isv_prod_id' must be a number from 0 to 65535"),
        ("pccs_url = localhost:8081", "'pccs_url' must be an http or https URL"),
        ("port", "is not a configuration file"),
        ("[other]\nport = 1", "has sections"),
        ("secret = a\nsecret_file = b", "not both"),
    ],
)
def test_value_that_can_not_be_used_is_named(load: Load, line: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load(f"name = clinic\n{line}\n")


def test_message_about_a_secret_does_not_show_it(load: Load) -> None:
    for text in ("name=clinic\nsecret=sesame\nport=0\n", "name=clinic\nsecrt=sesame\n"):
        with pytest.raises(ConfigurationError) as caught:
            load(text)
        assert "sesame" not in str(caught.value)


def test_file_with_a_secret_that_others_can_read_is_refused(load: Load, tmp_path: Path) -> None:
    load(lines(EXAMPLES))
    (tmp_path / "clf_server.conf").chmod(0o644)
    with pytest.raises(ConfigurationError, match=r"open to others \(mode 644\)"):
        load_config(tmp_path)


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


def test_shipped_file_documents_every_key_and_can_be_used(load: Load) -> None:
    shipped = (REPOSITORY / "server" / "clf_server.conf").read_text()
    assert shipped == render_config({"name": "my-server"})
    assert load(shipped) == load("name=my-server\n")
    guide = (REPOSITORY / "docs" / "server.md").read_text()
    for key in KEYS:
        assert f"{key.name}=" in shipped
        assert f"`{key.name}`" in guide, f"{key.name} is not in docs/server.md"
