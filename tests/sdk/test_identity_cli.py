from __future__ import annotations

import json
import stat
from pathlib import Path

import keyring
import pytest
from click.testing import CliRunner, Result

import clf_sdk as clf
from clf_sdk._cli import main
from clf_sdk._identity import own_identity_path
from clf_testing import MemoryKeyring


def identity(*arguments: str | Path, fails: bool = False) -> Result:
    done = CliRunner().invoke(main, ["identity", *map(str, arguments)])
    assert (done.exit_code != 0) is fails, done.output
    return done


def test_identity_s_life_from_the_shell(nobody: Path, tmp_path: Path) -> None:
    assert "clf identity create" in identity("show", fails=True).output
    created = identity("create", "--insecure-no-passphrase").output
    mine = clf.Identity.mine()
    assert mine.fingerprint in created
    assert stat.S_IMODE(nobody.stat().st_mode) == 0o600

    shown = identity("show").output
    for part in (mine.id, mine.fingerprint, str(nobody)):
        assert part in shown

    file = tmp_path / "ada.identity.json"
    assert mine.fingerprint in identity("export", file).output
    assert clf.PublicIdentity.load(file) == mine.public
    identity("export", file)  # again: the same file
    assert mine.fingerprint in identity("show", file).output
    assert json.loads(identity("export", "-").output) == mine.public.to_json()


def test_second_identity_of_one_s_own_is_refused(nobody: Path) -> None:
    identity("create", "--insecure-no-passphrase")
    before = nobody.read_bytes()
    for options in (["--insecure-no-passphrase"], ["--keyring"]):
        assert "you have an identity already" in identity("create", *options, fails=True).output
    assert nobody.read_bytes() == before


def test_export_never_overwrites_a_private_identity(nobody: Path) -> None:
    identity("create", "--insecure-no-passphrase")
    before = nobody.read_bytes()
    assert "exists already" in identity("export", nobody, fails=True).output
    assert nobody.read_bytes() == before


def test_passphrase_comes_from_a_file(nobody: Path, tmp_path: Path) -> None:
    (tmp_path / "passphrase").write_text("correct horse\n")
    file = tmp_path / "deep" / "second.private"
    identity("create", "--file", file, "--passphrase-file", tmp_path / "passphrase")
    assert file.read_bytes().startswith(b"age-encryption.org/v1\n")
    assert not nobody.exists()
    assert "protected by a passphrase" in identity("show", file, fails=True).output


def test_keyring_is_used_on_request(nobody: Path, memory_keyring: MemoryKeyring) -> None:
    identity("create", "--keyring")
    assert not nobody.exists()
    assert len(memory_keyring.stored) == 1
    assert "the keyring" in identity("show").output
    assert "already" in identity("create", "--keyring", fails=True).output


@pytest.mark.usefixtures("nobody")
def test_without_keyring_and_terminal_the_remedy_is_told() -> None:
    assert "passphrase instead" in identity("create", "--keyring", fails=True).output
    assert "--passphrase-file" in identity("create", fails=True).output
    assert not own_identity_path().exists()
    assert keyring.get_keyring().priority == 0


@pytest.mark.parametrize(
    "options",
    [
        ["--keyring", "--insecure-no-passphrase"],
        ["--keyring", "--file", "x"],
        ["--insecure-no-passphrase", "--passphrase-file", __file__],
    ],
)
def test_contradiction_is_refused(nobody: Path, options: list[str]) -> None:
    assert "exclude" in identity("create", *options, fails=True).output
    assert not nobody.exists()


def test_file_of_something_else_is_named(tmp_path: Path) -> None:
    file = tmp_path / "notes"
    file.touch(0o600)
    file.write_text("hello")
    assert "is not an identity" in identity("show", file, fails=True).output
