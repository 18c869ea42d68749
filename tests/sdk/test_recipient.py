from __future__ import annotations

import base64
import json
import stat
from pathlib import Path
from typing import Any

import platformdirs
import pytest

import clf_sdk as clf
from clf_sdk.errors import ConfigurationError, FormatTooNew, SealBroken
from clf_sdk.keys import CLASSIC, PrivateKey, PublicKey

INFO = {"run": "a"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "key.json"


def test_saved_key_opens_what_was_sealed_to_it(path: Path) -> None:
    key = clf.RecipientKey.create()
    key.save(path)
    sealed = PublicKey.from_document(key.public.to_json()).seal(b"secret", info=INFO)
    loaded = clf.RecipientKey.load(path)
    assert loaded.open(sealed, info=INFO) == b"secret"
    assert loaded.fingerprint == key.fingerprint
    with pytest.raises(SealBroken):
        clf.RecipientKey.create().open(sealed, info=INFO)


def test_key_file_is_private_and_never_overwritten(path: Path) -> None:
    clf.RecipientKey.create().save(path)
    before = path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(ConfigurationError, match="exists already"):
        clf.RecipientKey.create().save(path)
    assert path.read_bytes() == before


def test_own_key_is_made_once_in_the_user_s_directory() -> None:
    first, second = clf.RecipientKey.mine(), clf.RecipientKey.mine()
    assert first.fingerprint == second.fingerprint
    path = Path(platformdirs.user_data_dir("clf")) / "recipient.key.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_repr_shows_no_secret(path: Path) -> None:
    key = clf.RecipientKey.create()
    key.save(path)
    secret = json.loads(path.read_bytes())["private_key"]
    assert secret[:16] not in repr(key)
    assert repr(key) == f"RecipientKey({key.fingerprint[:16]}…)"


@pytest.mark.parametrize(
    "change",
    [
        {"type": "profile"},
        {"private_key": "not base64!"},
        {"private_key": ""},
        {"private_key": None},
        {"private_key": base64.b64encode(bytes(95)).decode()},
        {"suite": None},
        {"suite": []},
        {"more": 1},
        {"clf": None},
        {"clf": "1"},
        {"clf": 0},
    ],
    ids=repr,
)
def test_damaged_key_file_is_named(path: Path, change: dict[str, Any]) -> None:
    clf.RecipientKey.create().save(path)
    path.write_text(json.dumps(json.loads(path.read_bytes()) | change))
    with pytest.raises(ConfigurationError, match="key"):
        clf.RecipientKey.load(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null"])
def test_file_that_is_no_key_is_named(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="not a recipient's key file"):
        clf.RecipientKey.load(path)


@pytest.mark.parametrize("change", [{"clf": 2}, {"suite": "mlkem1024/…"}])
def test_key_file_of_a_later_version_is_too_new(path: Path, change: dict[str, Any]) -> None:
    clf.RecipientKey.create().save(path)
    path.write_text(json.dumps(json.loads(path.read_bytes()) | change))
    with pytest.raises(FormatTooNew):
        clf.RecipientKey.load(path)


def test_missing_file_is_a_configuration_error(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be read"):
        clf.RecipientKey.load(path)


def test_classic_key_is_a_recipient_too(path: Path) -> None:
    key = clf.RecipientKey(PrivateKey.generate(CLASSIC))
    key.save(path)
    assert clf.RecipientKey.load(path).public.suite == CLASSIC
