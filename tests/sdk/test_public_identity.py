from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import clf_sdk as clf
from clf_sdk.errors import ConfigurationError, FormatTooNew, SignatureInvalid
from clf_sdk.protocol import IdentityDocument, identity_fingerprint

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "identity.json").read_text("utf-8"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ada.identity.json"


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["public"]["hpke"]["suite"])
def test_vectors_hold(vector: dict[str, Any], path: Path) -> None:
    path.touch(0o600)
    path.write_text(json.dumps(vector["private"]))
    identity = clf.Identity.load(path)
    assert identity.public.to_json() == vector["public"]
    assert identity.id == vector["id"]
    assert identity.fingerprint == vector["fingerprint"]


def test_exported_identity_is_read_as_it_was(path: Path) -> None:
    public = clf.Identity.create().public
    public.save(path)
    assert clf.PublicIdentity.load(path) == public
    assert repr(public) == f"PublicIdentity({public.fingerprint})"


def test_export_holds_no_secret(path: Path, tmp_path: Path) -> None:
    identity = clf.Identity.create()
    identity.save(tmp_path / "private", passphrase=None)
    identity.public.save(path)
    private = json.loads((tmp_path / "private").read_bytes())
    for secret in (private["signing_key"], private["hpke"]["private_key"]):
        assert secret not in path.read_text()


@pytest.mark.parametrize("field", ["signing_key", "hpke"])
def test_exchanged_key_is_another_identity(field: str) -> None:
    mine, theirs = clf.Identity.create().public, clf.Identity.create().public
    mixed = clf.PublicIdentity(
        IdentityDocument.parse(mine.to_json() | {field: theirs.to_json()[field]})
    )
    assert len({mine.id, theirs.id, mixed.id}) == 3
    assert len({mine.fingerprint, theirs.fingerprint, mixed.fingerprint}) == 3


def test_fingerprint_is_six_groups_of_five_digits() -> None:
    assert identity_fingerprint("00" * 32) == "00000 00000 00000 00000 00000 00000"
    last = f"{10**30 + 12345:064x}"
    assert identity_fingerprint(last) == "00000 00000 00000 00000 00000 12345"


def test_signature_of_another_identity_or_kind_does_not_hold() -> None:
    ada, eve = clf.Identity.create(), clf.Identity.create()
    signature = ada.sign("job", {"a": 1})
    ada.public.verify("job", {"a": 1}, signature)
    for public, kind, document in (
        (eve.public, "job", {"a": 1}),
        (ada.public, "session", {"a": 1}),
        (ada.public, "job", {"a": 2}),
    ):
        with pytest.raises(SignatureInvalid):
            public.verify(kind, document, signature)


@pytest.mark.parametrize(
    "change",
    [
        {"type": "private-identity"},
        {"signing_key": "AAAA"},
        {"signing_key": None},
        {"hpke": {"suite": "x25519/hkdf-sha256/aes-256-gcm", "public_key": "AAAA"}},
        {"hpke": {"suite": "x25519/hkdf-sha256/aes-256-gcm"}},
        {"name": "ada"},
    ],
    ids=repr,
)
def test_file_that_is_no_public_identity_is_named(path: Path, change: dict[str, Any]) -> None:
    path.write_text(json.dumps(clf.Identity.create().public.to_json() | change))
    with pytest.raises(ConfigurationError, match="is not a public identity"):
        clf.PublicIdentity.load(path)


def test_private_identity_is_not_taken_for_a_public_one(path: Path) -> None:
    clf.Identity.create().save(path, passphrase=None)
    with pytest.raises(ConfigurationError, match="is not a public identity"):
        clf.PublicIdentity.load(path)


@pytest.mark.parametrize("change", [{"clf": 2}, {"hpke": {"suite": "new", "public_key": "AAAA"}}])
def test_identity_of_a_later_version_is_too_new(path: Path, change: dict[str, Any]) -> None:
    path.write_text(json.dumps(clf.Identity.create().public.to_json() | change))
    with pytest.raises(FormatTooNew):
        clf.PublicIdentity.load(path)


def test_missing_file_is_a_configuration_error(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be read"):
        clf.PublicIdentity.load(path)
