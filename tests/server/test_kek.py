"""Key-encryption keys of each provider, and what wraps with them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from clf_sdk.errors import ConfigurationError, FormatTooNew, KeysUnavailable, NotReady, SealBroken
from clf_server._config import METADATA_NAME, load_config
from clf_server._database import sqlite_url
from clf_server._kek import Kek
from clf_server._kek_file import create_file_kek, destroy_file, load_file_kek
from clf_server._kek_gramine import derive_gramine_kek
from clf_server._kek_vault import VaultAddress, VaultKek
from clf_server._keks import Keks, kek_of
from clf_server._metadata import Metadata
from clf_server._provision import create_server
from clf_testing import TransitServer

CONTEXT = {"clf": 1, "type": "table-key", "table": "plans"}
KEY = b"k" * 32
SALT = b"s" * 32


@pytest.fixture
def transit() -> Iterator[TransitServer]:
    with TransitServer() as transit:
        yield transit


def vault_kek(transit: TransitServer, folder: Path, **changes: str) -> VaultKek:
    token = folder / "token"
    token.write_text(transit.token + "\n")
    address = VaultAddress(changes.pop("url", transit.url), token, transit.ca)
    return VaultKek(address, **({"mount": "transit", "key": "clf"} | changes))


def attestation(folder: Path) -> Path:
    """Make what Gramine offers: two keys of 16 bytes."""
    (folder / "keys").mkdir(parents=True)
    (folder / "keys" / "_sgx_mrsigner").write_bytes(bytes(range(16)))
    (folder / "keys" / "_sgx_mrenclave").write_bytes(bytes(range(16, 32)))
    return folder


@pytest.fixture(params=["file", "gramine", "vault"])
def kek(request: pytest.FixtureRequest, tmp_path: Path, transit: TransitServer) -> Kek:
    if request.param == "file":
        return create_file_kek(tmp_path / "kek.key")
    if request.param == "gramine":
        return derive_gramine_kek(attestation(tmp_path / "dev"), "mrsigner", salt=SALT)
    return vault_kek(transit, tmp_path)


# -- what all providers promise ------------------------------------------------------------------


def test_sealed_key_opens_in_its_own_context_and_is_never_twice_the_same(kek: Kek) -> None:
    sealed = [kek.seal(KEY, b"context") for _ in range(2)]
    assert sealed[0] != sealed[1]
    assert {kek.open(each, b"context") for each in sealed} == {KEY}
    with pytest.raises(SealBroken):
        kek.open(sealed[0], b"another")


def test_changed_bytes_do_not_open(kek: Kek) -> None:
    sealed = kek.seal(KEY, b"context")
    flipped = sealed[:-6] + ("A" if sealed[-6] != "A" else "B") + sealed[-5:]
    for damaged in (flipped, sealed[:8], "not base64!"):
        with pytest.raises(SealBroken):
            kek.open(damaged, b"context")


# -- files ---------------------------------------------------------------------------------------


def test_missing_key_says_what_is_lost(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be read") as caught:
        load_file_kek(tmp_path / "kek.key")
    assert "backup" in str(caught.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    create_file_kek(tmp_path / "kek.key")
    (tmp_path / "kek.key").chmod(mode)
    with pytest.raises(ConfigurationError, match="readable by others"):
        load_file_kek(tmp_path / "kek.key")


def test_key_of_another_length_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kek.key"
    path.touch(mode=0o600)
    path.write_bytes(b"k" * 31)
    with pytest.raises(ConfigurationError, match="32 bytes"):
        load_file_kek(path)


def test_destroyed_file_is_overwritten_before_it_goes(tmp_path: Path) -> None:
    path, witness = tmp_path / "kek.key", tmp_path / "witness"
    create_file_kek(path)
    witness.hardlink_to(path)  # the same bytes on the disk, under a name that stays
    before = witness.read_bytes()
    destroy_file(path)
    assert not path.exists()
    assert witness.read_bytes() != before
    destroy_file(path)


# -- Gramine -------------------------------------------------------------------------------------


def test_gramine_key_is_that_of_program_machine_and_salt(tmp_path: Path) -> None:
    dev = attestation(tmp_path / "dev")
    sealed = derive_gramine_kek(dev, "mrsigner", salt=SALT).seal(KEY, b"c")
    assert derive_gramine_kek(dev, "mrsigner", salt=SALT).open(sealed, b"c") == KEY
    others = [("mrsigner", b"t" * 32), ("mrenclave", SALT)]
    for name, salt in others:
        with pytest.raises(SealBroken):
            derive_gramine_kek(dev, name, salt=salt).open(sealed, b"c")
    (dev / "keys" / "_sgx_mrsigner").write_bytes(bytes(range(1, 17)))  # another machine, or signer
    with pytest.raises(SealBroken):
        derive_gramine_kek(dev, "mrsigner", salt=SALT).open(sealed, b"c")


@pytest.mark.parametrize("content", [None, b"", b"\0" * 16, b"k" * 15, b"k" * 32])
def test_process_without_a_sealing_key_is_told_where_there_is_one(
    tmp_path: Path, content: bytes | None
) -> None:
    dev = attestation(tmp_path / "dev")
    path = dev / "keys" / "_sgx_mrsigner"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="sealing key") as caught:
        derive_gramine_kek(dev, "mrsigner", salt=SALT)
    assert "gramine-sgx" in str(caught.value)


# -- Vault ---------------------------------------------------------------------------------------


def test_vault_never_gives_its_key_and_gets_no_other_request(
    transit: TransitServer, tmp_path: Path
) -> None:
    kek = vault_kek(transit, tmp_path)
    assert kek.open(kek.seal(KEY, b"c"), b"c") == KEY
    assert transit.seen == ["/v1/transit/encrypt/clf", "/v1/transit/decrypt/clf"]
    assert transit.token not in repr(kek)


def test_vault_s_own_rotation_keeps_what_was_sealed(transit: TransitServer, tmp_path: Path) -> None:
    kek = vault_kek(transit, tmp_path)
    before = kek.seal(KEY, b"c")
    transit.rotate()
    after = kek.seal(KEY, b"c")
    assert [text.split(":")[1] for text in (before, after)] == ["v1", "v2"]
    assert kek.open(before, b"c") == kek.open(after, b"c") == KEY


def test_vault_token_may_be_renewed_while_the_server_runs(
    transit: TransitServer, tmp_path: Path
) -> None:
    kek = vault_kek(transit, tmp_path)
    sealed = kek.seal(KEY, b"c")
    transit.token = "hvs.next"
    with pytest.raises(KeysUnavailable, match="refuses the token") as caught:
        kek.open(sealed, b"c")
    assert "transit/decrypt/clf" in str(caught.value)
    (tmp_path / "token").write_text("hvs.next")
    assert kek.open(sealed, b"c") == KEY


@pytest.mark.parametrize("token", [None, "", "a\nb", "é"])
def test_unusable_vault_token_is_named(
    transit: TransitServer, tmp_path: Path, token: str | None
) -> None:
    kek = vault_kek(transit, tmp_path)
    (tmp_path / "token").unlink()
    if token is not None:
        (tmp_path / "token").write_text(token, "utf-8")
    with pytest.raises(KeysUnavailable, match="token"):
        kek.seal(KEY, b"c")
    assert transit.seen == []


def test_vault_that_is_sealed_down_or_something_else_is_clf_s_own_error(
    transit: TransitServer, tmp_path: Path
) -> None:
    with pytest.raises(KeysUnavailable, match="can't encrypt"):
        vault_kek(transit, tmp_path, mount="elsewhere").seal(KEY, b"c")
    with pytest.raises(KeysUnavailable, match="does not encrypt with 'none'"):
        vault_kek(transit, tmp_path, key="none").seal(KEY, b"c")
    transit.sealed = True
    with pytest.raises(KeysUnavailable, match="VaultDown"):
        vault_kek(transit, tmp_path).seal(KEY, b"c")
    with pytest.raises(KeysUnavailable, match="can't be reached"):
        vault_kek(transit, tmp_path, url="http://127.0.0.1:1").seal(KEY, b"c")


@pytest.mark.parametrize(
    "url", ["http://vault.example:8200", "http://10.0.0.1", "ftp://localhost", "localhost", ""]
)
def test_keys_never_travel_in_the_clear(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigurationError, match="https"):
        VaultAddress(url, tmp_path / "token", None)


def test_vault_shows_a_certificate_of_the_configured_authority(tmp_path: Path) -> None:
    with TransitServer(tls=tmp_path) as transit:
        kek = vault_kek(transit, tmp_path)
        assert kek.open(kek.seal(KEY, b"c"), b"c") == KEY
        stranger = VaultAddress(transit.url, tmp_path / "token", None)
        with pytest.raises(KeysUnavailable, match="can't be reached"):
            VaultKek(stranger, mount="transit", key="clf").seal(KEY, b"c")


def test_environment_can_not_lead_keys_elsewhere(
    transit: TransitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("VAULT_ADDR", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("VAULT_TOKEN", "hvs.wrong")
    kek = vault_kek(transit, tmp_path)
    assert kek.open(kek.seal(KEY, b"c"), b"c") == KEY


# -- wrapping with the one that the database names -----------------------------------------------


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return create_server(tmp_path / "clinic", name="clinic").directory


@pytest.fixture
def keks(directory: Path) -> Iterator[Keks]:
    metadata = Metadata(sqlite_url(directory / METADATA_NAME))
    yield Keks(metadata, directory)
    metadata.close()


def test_wrapped_key_names_its_suite_and_its_key(keks: Keks) -> None:
    wrapped = keks.wrap(KEY, CONTEXT)
    assert wrapped.startswith(f"clf1-aes256gcm:{kek_of(wrapped)}:")
    assert keks.unwrap(wrapped, CONTEXT) == KEY
    with pytest.raises(SealBroken):
        keks.unwrap(wrapped, CONTEXT | {"table": "visits"})


def test_unknown_marker_or_suite_is_too_new(keks: Keks) -> None:
    wrapped = keks.wrap(KEY, CONTEXT)
    for later in (
        wrapped.replace("clf1", "clf2"),
        wrapped.replace("aes256gcm", "aes512"),
        "clf1-aes256gcm:short",
        "",
    ):
        with pytest.raises(FormatTooNew, match="later version"):
            keks.unwrap(later, CONTEXT)


def test_key_under_a_forgotten_kek_is_to_be_read_again(keks: Keks) -> None:
    wrapped = keks.wrap(KEY, CONTEXT)
    with pytest.raises(NotReady):
        keks.unwrap(wrapped.replace(kek_of(wrapped), "00" * 8), CONTEXT)


def configure(directory: Path, **settings: object) -> None:
    path = directory / "clf_server.conf"
    lines = "".join(f"{key} = {value}\n" for key, value in settings.items())
    path.write_text(path.read_text() + lines)


def test_configuration_that_names_another_provider_is_not_started_with(
    keks: Keks, directory: Path, tmp_path: Path
) -> None:
    keks.check()
    configure(directory, key_provider="gramine", attestation_path=attestation(tmp_path / "dev"))
    with pytest.raises(ConfigurationError, match="another key provider") as caught:
        keks.check()
    assert "rotate-key" in str(caught.value)


@pytest.mark.parametrize("missing", ["vault_url", "vault_key", "vault_token_file"])
def test_setting_that_the_vault_needs_is_named(tmp_path: Path, missing: str) -> None:
    settings = {
        "key_provider": "vault",
        "vault_url": "https://vault.example",
        "vault_key": "clf",
        "vault_token_file": "token",
    }
    del settings[missing]
    with pytest.raises(ConfigurationError, match=missing):
        create_server(tmp_path / "clinic", name="clinic", settings=settings)
    assert not (tmp_path / "clinic").exists()


@pytest.mark.parametrize(("key", "value"), [("key_provider", "hsm"), ("sealing_key", "mrprodid")])
def test_unknown_provider_is_refused_with_those_that_there_are(
    directory: Path, key: str, value: str
) -> None:
    configure(directory, **{key: value})
    with pytest.raises(ConfigurationError, match=rf"'{key}' must be \w+"):
        load_config(directory)


def test_server_may_begin_with_any_provider(transit: TransitServer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(transit.token)
    for name, settings in {
        "gramine": {"attestation_path": str(attestation(tmp_path / "dev"))},
        "vault": {
            "vault_url": transit.url,
            "vault_key": "clf",
            "vault_token_file": str(tmp_path / "token"),
        },
    }.items():
        made = create_server(
            tmp_path / name, name=name, settings={"key_provider": name, **settings}
        )
        assert not list(made.directory.glob("kek*"))
        metadata = Metadata(sqlite_url(made.directory / METADATA_NAME))
        keks = Keks(metadata, made.directory)
        keks.check()
        assert keks.unwrap(keks.wrap(KEY, CONTEXT), CONTEXT) == KEY
        metadata.close()


def test_vault_that_does_not_bind_keys_to_their_place_is_refused(
    transit: TransitServer, tmp_path: Path
) -> None:
    transit.binds = False
    (tmp_path / "token").write_text(transit.token)
    settings = {
        "key_provider": "vault",
        "vault_url": transit.url,
        "vault_key": "clf",
        "vault_token_file": str(tmp_path / "token"),
    }
    with pytest.raises(ConfigurationError, match="sealed for something else") as caught:
        create_server(tmp_path / "clinic", name="clinic", settings=settings)
    assert "associated_data" in str(caught.value)


def test_keys_and_tokens_are_in_no_log(
    transit: TransitServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        kek = vault_kek(transit, tmp_path)
        kek.open(kek.seal(KEY, b"c"), b"c")
    assert transit.token not in caplog.text
