from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from typing import Any

import pytest

from clf_sdk.attestation import Binding, Collateral, Evidence
from clf_sdk.errors import CollateralMalformed, FormatTooNew, Malformed
from clf_sdk.keys import PrivateKey, SigningKey
from clf_sdk.protocol import canonical_json

DROP = object()


@pytest.fixture(scope="module")
def binding() -> Binding:
    return Binding(
        nonce="01" * 32,
        server="02" * 32,
        run="03" * 16,
        job="04" * 32,
        hpke=PrivateKey.generate().public.to_document(),
        signing_key=SigningKey.generate().public_bytes,
    )


@pytest.fixture(scope="module")
def evidence(binding: Binding, bench: Any) -> Evidence:
    quote = bench.quote(report_data=binding.report_data)
    return Evidence(quote, binding, bench.platform.collateral)


def changed(document: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    rest = {key: item for key, item in document.items() if key != name}
    return rest if value is DROP else rest | {name: value}


def test_report_data_is_the_sha512_of_the_canonical_binding(binding: Binding) -> None:
    document = binding.to_json()
    assert binding.report_data == hashlib.sha512(canonical_json(document)).digest()
    shuffled = dict(reversed(document.items()))
    assert Binding.from_json(shuffled).report_data == binding.report_data


@pytest.mark.parametrize("name", ["nonce", "server", "run", "job"])
def test_each_field_of_the_binding_changes_the_report_data(binding: Binding, name: str) -> None:
    changes: dict[str, Any] = {name: "ff" * (len(getattr(binding, name)) // 2)}
    other = dataclasses.replace(binding, **changes)
    assert other.report_data != binding.report_data


def test_other_keys_change_the_report_data(binding: Binding) -> None:
    hpke = PrivateKey.generate().public.to_document()
    key = SigningKey.generate().public_bytes
    assert dataclasses.replace(binding, hpke=hpke).report_data != binding.report_data
    assert dataclasses.replace(binding, signing_key=key).report_data != binding.report_data


def test_evidence_survives_json(evidence: Evidence) -> None:
    document = json.loads(json.dumps(evidence.to_json()))
    assert Evidence.from_json(document) == evidence
    bare = dataclasses.replace(evidence, collateral=None)
    assert Evidence.from_json(bare.to_json()) == bare


def test_evidence_verifies_for_its_binding_only(evidence: Evidence, bench: Any) -> None:
    right = dataclasses.replace(bench, report_data=evidence.binding.report_data)
    assert right.verify(evidence.quote).report_data == evidence.binding.report_data.hex()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("nonce", "01" * 31),
        ("nonce", "AB" * 32),
        ("server", 5),
        ("run", "03" * 32),
        ("job", None),
        ("job", DROP),
        ("extra", 1),
        ("type", "evidence"),
        ("clf", 0),
        ("clf", True),
        ("clf", "1"),
        ("clf", DROP),
        ("hpke", None),
        ("hpke", {"suite": "x25519/hkdf-sha256/aes-256-gcm", "public_key": ""}),
        ("signing_key", "AA=="),
        ("signing_key", "no base64!"),
        ("signing_key", base64.b64encode(bytes(33)).decode()),
    ],
)
def test_binding_of_another_form_is_malformed(binding: Binding, name: str, value: Any) -> None:
    with pytest.raises(Malformed):
        Binding.from_json(changed(binding.to_json(), name, value))


def test_later_versions_are_too_new_and_not_malformed(binding: Binding, evidence: Evidence) -> None:
    with pytest.raises(FormatTooNew):
        Binding.from_json(binding.to_json() | {"clf": 2, "unknown": True})
    with pytest.raises(FormatTooNew):
        Evidence.from_json(evidence.to_json() | {"clf": 2})
    with pytest.raises(FormatTooNew):
        Binding.from_json(binding.to_json() | {"hpke": {"suite": "new", "public_key": ""}})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("quote", base64.b64encode(bytes((16 << 10) + 3)).decode()),
        ("quote", "AA"),
        ("quote", None),
        ("binding", None),
        ("collateral", DROP),
        ("extra", 1),
    ],
)
def test_evidence_of_another_form_or_size_is_malformed(
    evidence: Evidence, name: str, value: Any
) -> None:
    with pytest.raises(Malformed):
        Evidence.from_json(changed(evidence.to_json(), name, value))


@pytest.mark.parametrize("document", [None, [], "x", 1])
def test_evidence_must_be_an_object(document: Any) -> None:
    with pytest.raises(Malformed):
        Evidence.from_json(document)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tcb_info", DROP),
        ("extra", "x"),
        ("tcb_info", 5),
        ("pck_crl", "xyz"),
        ("tcb_info_signature", "00"),
        ("tcb_info", "x" * (1 << 20)),
    ],
)
def test_collateral_of_another_form_or_size_is_malformed(
    evidence: Evidence, name: str, value: Any
) -> None:
    assert evidence.collateral
    document = changed(evidence.collateral.to_json(), name, value)
    with pytest.raises(CollateralMalformed):
        Collateral.from_json(document)
    with pytest.raises(CollateralMalformed):
        Collateral.from_json(json.dumps(document))
    with pytest.raises(CollateralMalformed):
        Evidence.from_json(evidence.to_json() | {"collateral": document})


@pytest.mark.parametrize("document", ["", b"\xff", "[]", "null", b"{}", None, '{"a":1,"a":2}'])
def test_collateral_must_be_an_object(document: Any) -> None:
    with pytest.raises(CollateralMalformed):
        Collateral.from_json(document)
