from __future__ import annotations

import hashlib
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509

from clf_sdk.errors import ConfigurationError, InvalidName
from clf_sdk.keys import SigningKey
from clf_sdk.protocol import Profile
from clf_server import _provision
from clf_server._provision import create_server


def test_init_writes_everything_that_a_server_needs(tmp_path: Path) -> None:
    made = create_server(tmp_path / "deep" / "clinic", name="clinic", port=4444)
    found = {str(p.relative_to(made.directory)) for p in made.directory.rglob("*") if p.is_file()}
    assert found == {
        "clf_server.conf",
        "identity.key",
        "kek.key",
        "metadata.sqlite",
        "owner.profile.json",
        "tls/ca.key",
        "tls/ca.pem",
        "tls/server.pem",
        "tls/server.key",
    }
    identity = SigningKey((made.directory / "identity.key").read_bytes())
    assert made.server == hashlib.sha256(identity.public_bytes).hexdigest()


def test_secrets_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    directory = create_server(tmp_path / "clinic", name="clinic").directory
    secrets = [
        "clf_server.conf",
        "identity.key",
        "kek.key",
        "metadata.sqlite",
        "owner.profile.json",
        "tls/ca.key",
        "tls/server.key",
    ]
    modes = {name: stat.S_IMODE((directory / name).stat().st_mode) for name in secrets}
    assert modes == dict.fromkeys(secrets, 0o600)
    for folder in (directory, directory / "tls"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_profile_carries_endpoint_authority_identity_and_a_token(tmp_path: Path) -> None:
    made = create_server(
        tmp_path / "clinic", name="clinic", port=4444, public_hosts=["clinic.example", "10.0.0.7"]
    )
    owner = Profile.load(made.owner_profile)
    assert (owner.role, owner.label, owner.analyst) == ("owner", "owner", None)
    assert owner.url == "https://clinic.example:4444"
    assert owner.server == made.server
    assert owner.token.encode() not in (made.directory / "metadata.sqlite").read_bytes()
    ssl.create_default_context(cadata=owner.ca)
    certificate = x509.load_pem_x509_certificate((made.directory / "tls/server.pem").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["clinic.example"]
    assert {str(a) for a in names.get_values_for_type(x509.IPAddress)} == {"10.0.0.7", "127.0.0.1"}


def test_directory_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match="is not empty") as caught:
        create_server(tmp_path, name="clinic")
    assert "nothing was changed" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_second_init_keeps_the_first_identity(tmp_path: Path) -> None:
    made = create_server(tmp_path / "clinic", name="clinic")
    before = (made.directory / "identity.key").read_bytes()
    with pytest.raises(ConfigurationError):
        create_server(tmp_path / "clinic", name="clinic")
    assert (made.directory / "identity.key").read_bytes() == before


def test_init_that_fails_leaves_nothing_half_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_provision, "make_profile", fail)
    with pytest.raises(OSError, match="No space"):
        create_server(tmp_path / "clinic", name="clinic")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "..", "a/b", "A", "a\0b", "x" * 65, "é"])
def test_server_name_is_checked_before_anything_is_made(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidName):
        create_server(tmp_path / "clinic", name=name)
    assert list(tmp_path.iterdir()) == []


def test_anchor_that_is_none_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    anchor = tmp_path / "anchor.pem"
    anchor.write_text("not a certificate")
    with pytest.raises(ConfigurationError, match="anchor"):
        create_server(tmp_path / "clinic", name="clinic", insecure_simulation=anchor)
    assert list(tmp_path.iterdir()) == [anchor]


def test_directory_that_is_there_is_filled_in_place(tmp_path: Path) -> None:
    """It may be a mount point: a volume of a container, or a file system of an enclave."""
    directory = tmp_path / "clinic"
    directory.mkdir(mode=0o755)
    inode = directory.stat().st_ino

    create_server(directory, name="clinic")

    assert directory.stat().st_ino == inode
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert (directory / "owner.profile.json").exists()


def test_directory_that_is_there_is_empty_again_after_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "clinic"
    directory.mkdir()

    def fail(*_arguments: object, **_options: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(_provision, "make_profile", fail)
    with pytest.raises(OSError, match="disk full"):
        create_server(directory, name="clinic")
    assert list(directory.iterdir()) == []
