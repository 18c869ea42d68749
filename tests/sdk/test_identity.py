from __future__ import annotations

import builtins
import getpass
import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import clf_sdk as clf
from clf_sdk._passphrase import find_passphrase
from clf_sdk.errors import ConfigurationError, FormatTooNew, IdentityLocked, SealBroken
from clf_sdk.keys import CLASSIC, PrivateKey, PublicKey, SigningKey
from clf_testing import MemoryKeyring

INFO = {"run": "a"}
PASSPHRASE = "correct horse battery staple"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "me.private"


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, clf.Identity]:
    """Return an identity in a file that a passphrase protects."""
    identity, file = clf.Identity.create(), tmp_path_factory.mktemp("encrypted") / "me.private"
    identity.save(file, passphrase=PASSPHRASE)
    return file, identity


def test_saved_identity_opens_and_signs_as_before(path: Path) -> None:
    identity = clf.Identity.create()
    identity.save(path, passphrase=None)
    loaded = clf.Identity.load(path)
    assert loaded.public == identity.public
    sealed = PublicKey.from_document(identity.public.document.hpke.to_json()).seal(b"s", info=INFO)
    assert loaded.open(sealed, info=INFO) == b"s"
    identity.public.verify("job", {"a": 1}, loaded.sign("job", {"a": 1}))
    with pytest.raises(SealBroken):
        clf.Identity.create().open(sealed, info=INFO)


def test_passphrase_opens_and_another_one_does_not(encrypted: tuple[Path, clf.Identity]) -> None:
    file, identity = encrypted
    assert clf.Identity.load(file, passphrase=PASSPHRASE).id == identity.id
    with pytest.raises(IdentityLocked, match="wrong passphrase"):
        clf.Identity.load(file, passphrase="wrong")


def test_encrypted_file_is_an_age_file_and_shows_nothing(
    encrypted: tuple[Path, clf.Identity],
) -> None:
    file, identity = encrypted
    data = file.read_bytes()
    assert data.startswith(b"age-encryption.org/v1\n")
    assert b"signing_key" not in data
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert identity.id


def test_passphrase_comes_from_the_file_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "passphrase").write_text(PASSPHRASE + "\nsecond line\n")
    monkeypatch.setenv("CLF_PASSPHRASE_FILE", str(tmp_path / "passphrase"))
    assert find_passphrase(None, what="it") == PASSPHRASE
    assert find_passphrase("given", what="it") == "given"


@pytest.mark.parametrize("content", [None, "", "\nsecond line"])
def test_passphrase_file_without_a_passphrase_is_named(
    encrypted: tuple[Path, clf.Identity],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: str | None,
) -> None:
    if content is not None:
        (tmp_path / "passphrase").write_text(content)
    monkeypatch.setenv("CLF_PASSPHRASE_FILE", str(tmp_path / "passphrase"))
    with pytest.raises(ConfigurationError, match="passphrase file"):
        clf.Identity.load(encrypted[0])


def test_passphrase_is_asked_for_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(prompt: str) -> str:
        asked.append(prompt)
        return PASSPHRASE

    monkeypatch.setattr(builtins, "__IPYTHON__", True, raising=False)
    monkeypatch.setattr(getpass, "getpass", answer)
    assert find_passphrase(None, what="the identity") == PASSPHRASE
    assert asked == ["Passphrase of the identity: "]


def _nobody_types(_prompt: str) -> str:
    raise NotImplementedError("this front end has no standard input")


@pytest.mark.parametrize("notebook", [True, False])
def test_where_nobody_can_be_asked_the_remedy_is_told(
    encrypted: tuple[Path, clf.Identity], monkeypatch: pytest.MonkeyPatch, *, notebook: bool
) -> None:
    if notebook:
        monkeypatch.setattr(builtins, "__IPYTHON__", True, raising=False)
        monkeypatch.setattr(getpass, "getpass", _nobody_types)
    with pytest.raises(IdentityLocked, match="CLF_PASSPHRASE_FILE"):
        clf.Identity.load(encrypted[0])


def test_empty_passphrase_is_refused(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="empty passphrase"):
        clf.Identity.create().save(path, passphrase="")
    assert not path.exists()


def test_identity_file_is_private_and_never_overwritten(path: Path) -> None:
    clf.Identity.create().save(path, passphrase=None)
    before = path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(ConfigurationError, match="exists already"):
        clf.Identity.create().save(path, passphrase=None)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_unencrypted_file_that_others_can_read_is_refused(path: Path) -> None:
    clf.Identity.create().save(path, passphrase=None)
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="readable by others"):
        clf.Identity.load(path)


def test_own_identity_without_a_keyring_is_a_private_file_with_one_warning(nobody: Path) -> None:
    with pytest.warns(UserWarning, match="unencrypted"):
        first = clf.Identity.mine()
    assert clf.Identity.mine().id == first.id
    assert stat.S_IMODE(nobody.stat().st_mode) == 0o600
    assert stat.S_IMODE(nobody.parent.stat().st_mode) == 0o700


def test_own_identity_is_kept_in_the_keyring_where_there_is_one(
    nobody: Path, memory_keyring: MemoryKeyring
) -> None:
    first = clf.Identity.mine()
    assert clf.Identity.mine().id == first.id
    assert not nobody.exists()
    assert len(memory_keyring.stored) == 1


def test_own_identity_is_encrypted_when_there_is_a_passphrase(
    nobody: Path,
    memory_keyring: MemoryKeyring,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "passphrase").write_text(PASSPHRASE)
    monkeypatch.setenv("CLF_PASSPHRASE_FILE", str(tmp_path / "passphrase"))
    made = clf.Identity.mine()
    assert nobody.read_bytes().startswith(b"age-encryption.org/v1\n")
    assert clf.Identity.mine().id == made.id
    assert memory_keyring.stored == {}


@pytest.mark.usefixtures("nobody")
def test_two_notebooks_make_one_identity(memory_keyring: MemoryKeyring) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = {identity.id for identity in pool.map(lambda _: clf.Identity.mine(), range(8))}
    assert len(made) == len(memory_keyring.stored) == 1


@pytest.mark.usefixtures("nobody")
def test_locked_keyring_makes_no_second_identity(memory_keyring: MemoryKeyring) -> None:
    made = clf.Identity.mine()
    memory_keyring.locked = True
    with pytest.raises(IdentityLocked, match="keyring"):
        clf.Identity.mine()
    memory_keyring.locked = False
    assert clf.Identity.mine().id == made.id


def test_keyring_holds_one_identity_and_keeps_it(memory_keyring: MemoryKeyring) -> None:
    clf.Identity.create().save_to_keyring()
    before = dict(memory_keyring.stored)
    with pytest.raises(ConfigurationError, match="already"):
        clf.Identity.create().save_to_keyring()
    assert memory_keyring.stored == before


def test_machine_without_a_keyring_is_told_the_remedy() -> None:
    with pytest.raises(ConfigurationError, match="passphrase"):
        clf.Identity.create().save_to_keyring()


def test_repr_shows_no_secret(path: Path) -> None:
    identity = clf.Identity.create()
    identity.save(path, passphrase=None)
    document = json.loads(path.read_bytes())
    for secret in (document["signing_key"], document["hpke"]["private_key"]):
        assert secret[:16] not in repr(identity)
    assert repr(identity) == f"Identity({identity.fingerprint})"


@pytest.mark.parametrize(
    "change",
    [
        {"type": "profile"},
        {"signing_key": "not base64!"},
        {"signing_key": ""},
        {"signing_key": None},
        {"signing_key": "AAAA"},
        {"hpke": {"suite": CLASSIC, "private_key": "AAAA"}},
        {"hpke": {"suite": None, "private_key": "AAAA"}},
        {"hpke": []},
        {"more": 1},
        {"clf": None},
        {"clf": "1"},
        {"clf": True},
        {"clf": 0},
    ],
    ids=repr,
)
def test_damaged_identity_file_is_named(path: Path, change: dict[str, Any]) -> None:
    clf.Identity.create().save(path, passphrase=None)
    path.write_text(json.dumps(json.loads(path.read_bytes()) | change))
    with pytest.raises(ConfigurationError, match="damaged"):
        clf.Identity.load(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null"])
def test_file_that_is_no_identity_is_named(path: Path, text: str) -> None:
    path.touch(0o600)
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="is not an identity"):
        clf.Identity.load(path)


@pytest.mark.parametrize(
    "change", [{"clf": 2}, {"hpke": {"suite": "mlkem1024/…", "private_key": "AAAA"}}]
)
def test_identity_file_of_a_later_version_is_too_new(path: Path, change: dict[str, Any]) -> None:
    clf.Identity.create().save(path, passphrase=None)
    path.write_text(json.dumps(json.loads(path.read_bytes()) | change))
    with pytest.raises(FormatTooNew):
        clf.Identity.load(path)


def test_encrypted_file_of_a_later_version_is_too_new(
    path: Path, encrypted: tuple[Path, clf.Identity]
) -> None:
    path.write_bytes(encrypted[0].read_bytes().replace(b"/v1\n", b"/v2\n", 1))
    with pytest.raises(FormatTooNew):
        clf.Identity.load(path, passphrase=PASSPHRASE)


def test_missing_file_is_a_configuration_error(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be read"):
        clf.Identity.load(path)


def test_identity_with_a_classic_key_works_too(path: Path) -> None:
    identity = clf.Identity(SigningKey.generate(), PrivateKey.generate(CLASSIC))
    identity.save(path, passphrase=None)
    assert clf.Identity.load(path).public.document.hpke.suite == CLASSIC
