"""A receipt has one form: whatever says the same in other bytes is refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from clf_sdk.errors import ClfError, FormatTooNew, Malformed, SignatureInvalid, TooLarge
from clf_sdk.keys import SigningKey
from clf_sdk.protocol import canonical_json
from clf_sdk.receipt import MOST_RECEIPT_BYTES, SignedReceipt
from clf_testing import HandmadeRun, seal_payload

Change = Callable[[dict[str, Any]], Any]


def test_what_the_program_signs_is_what_the_protocol_page_says(made: HandmadeRun) -> None:
    by_hand = made.seal()
    parsed = SignedReceipt.parse(by_hand)
    assert SignedReceipt.sign(parsed.predicate, made.signing).data == by_hand
    assert parsed.signing_key == made.signing.public_bytes
    assert parsed.statement.to_json() == json.loads(
        base64.b64decode(json.loads(by_hand)["payload"])
    )


def test_signature_is_plain_dsse(made: HandmadeRun) -> None:
    envelope = json.loads(made.seal())
    (signature,) = envelope["signatures"]
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
    encoded = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signature["keyid"]))
    key.verify(base64.b64decode(signature["sig"]), encoded)
    with pytest.raises(InvalidSignature):
        key.verify(base64.b64decode(signature["sig"]), encoded + b" ")


@pytest.mark.parametrize("end", [b"\n", b" ", b"\0", b"{}", b"//"])
def test_trailing_data_is_refused(made: HandmadeRun, end: bytes) -> None:
    with pytest.raises(Malformed):
        made.verify(made.seal() + end)


@pytest.mark.parametrize("start", [b"\xef\xbb\xbf", b" ", b"\n"])
def test_leading_data_is_refused(made: HandmadeRun, start: bytes) -> None:
    with pytest.raises(Malformed):
        made.verify(start + made.seal())


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b'"text"', b"\xff", b"{}", b'{"payload": NaN}', b"[" * 100_000],
    ids=lambda data: repr(data[:9]),
)
def test_what_is_no_receipt_is_malformed(made: HandmadeRun, data: bytes) -> None:
    with pytest.raises(Malformed):
        made.verify(data)


def _urlsafe(envelope: dict[str, Any]) -> None:
    envelope["payload"] = base64.urlsafe_b64encode(b"\xff\xff\xff").decode()


@pytest.mark.parametrize(
    "change",
    [
        lambda e: e.update(more=1),
        lambda e: e.pop("payloadType"),
        lambda e: e.update(payloadType="application/json"),
        lambda e: e.update(payload=7),
        lambda e: e.update(payload="?"),
        _urlsafe,
        lambda e: e.update(signatures={}),
        lambda e: e["signatures"].clear(),
        lambda e: e["signatures"].append(e["signatures"][0]),
        lambda e: e["signatures"].append(dict(e["signatures"][0], keyid="00" * 32)),
        lambda e: e["signatures"][0].update(more=1),
        lambda e: e["signatures"][0].update(keyid=e["signatures"][0]["keyid"].upper()),
        lambda e: e["signatures"][0].update(keyid=""),
        lambda e: e["signatures"][0].pop("keyid"),
        lambda e: e["signatures"][0].update(sig=""),
    ],
)
def test_envelope_of_another_form_is_refused(made: HandmadeRun, change: Change) -> None:
    envelope = json.loads(made.seal())
    change(envelope)
    with pytest.raises((Malformed, SignatureInvalid)):
        made.verify(canonical_json(envelope))


def test_envelope_that_is_not_canonical_is_refused(made: HandmadeRun) -> None:
    data = made.seal()
    envelope = json.loads(data)
    reordered = dict(reversed(envelope.items()))
    for other in (
        json.dumps(envelope).encode(),
        json.dumps(reordered, separators=(",", ":")).encode(),
        data.replace(b"vnd.in-toto", rb"vnd\u002ein-toto"),
    ):
        assert json.loads(other) == envelope
        with pytest.raises(Malformed, match="not canonical"):
            made.verify(other)


def test_repeated_keys_are_refused(made: HandmadeRun) -> None:
    data = made.seal()
    (signature,) = json.loads(data)["signatures"]
    for repeated in (
        data.replace(b'{"payload":', b'{"payload":"","payload":', 1),
        data.replace(b'{"keyid":', b'{"keyid":"' + signature["keyid"].encode() + b'","keyid":'),
    ):
        assert len(repeated) > len(data)
        with pytest.raises(Malformed, match="not valid JSON"):
            made.verify(repeated)


def test_payload_that_is_not_canonical_is_refused_though_it_is_signed(made: HandmadeRun) -> None:
    statement = made.statement()
    canonical = canonical_json(statement)
    for payload in (
        json.dumps(statement).encode(),
        canonical + b"\n",
        canonical.replace(b'"clf":1', b'"clf":1.0', 1),
        canonical.replace(b'"aligned_rows":7', b'"aligned_rows":7.0'),
    ):
        assert json.loads(payload) == statement
        with pytest.raises(Malformed):
            made.verify(made.seal(payload))


def test_payload_with_repeated_keys_is_refused_though_it_is_signed(made: HandmadeRun) -> None:
    canonical = canonical_json(made.statement())
    for payload in (
        canonical.replace(b'"aligned_rows":7', b'"aligned_rows":9,"aligned_rows":7'),
        canonical.replace(b'"_type":', b'"_type":"","_type":', 1),
    ):
        with pytest.raises(Malformed, match="not valid JSON"):
            made.verify(made.seal(payload))


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.update(more=1),
        lambda s: s.update(_type="https://in-toto.io/Statement/v0.1"),
        lambda s: s.update(predicateType="urn:other:receipt:v1"),
        lambda s: s.update(predicateType="urn:clf:receipt:v0"),
        lambda s: s.pop("subject"),
        lambda s: s["subject"].clear(),
        lambda s: s["subject"][0]["digest"].update(sha512="00"),
        lambda s: s["predicate"].update(more=1),
        lambda s: s["predicate"].pop("disclosure"),
        lambda s: s["predicate"].update(aligned_rows=-1),
        lambda s: s["predicate"].update(aligned_rows=True),
        lambda s: s["predicate"].update(mode="hardware"),
        lambda s: s["predicate"]["owners"].clear(),
        lambda s: s["predicate"]["owners"][0]["evidence"].update(more=1),
        lambda s: s["predicate"]["owners"][0]["session"].update(more=1),
        lambda s: s["predicate"]["owners"][0]["session"].pop("granted_at"),
        lambda s: s["predicate"]["job"].update(more=1),
    ],
)
def test_statement_of_another_form_is_malformed(made: HandmadeRun, change: Change) -> None:
    statement = made.statement()
    change(statement)
    with pytest.raises(Malformed):
        made.verify(made.seal(statement))


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.update(predicateType="urn:clf:receipt:v2"),
        lambda s: s["predicate"].update(clf=2),
        lambda s: s["predicate"]["job"].update(clf=2),
        lambda s: s["predicate"]["owners"][0]["session"].update(clf=2),
        lambda s: s["predicate"]["owners"][0]["evidence"].update(clf=2),
    ],
)
def test_statement_of_a_later_version_is_told_to_upgrade(made: HandmadeRun, change: Change) -> None:
    statement = made.statement()
    change(statement)
    with pytest.raises(FormatTooNew):
        made.verify(made.seal(statement))


def test_signature_of_another_key_is_invalid(made: HandmadeRun) -> None:
    envelope = json.loads(made.seal())
    envelope["signatures"][0]["keyid"] = SigningKey.generate().public_bytes.hex()
    with pytest.raises(SignatureInvalid):
        made.verify(canonical_json(envelope))


@pytest.mark.parametrize("point", [b"\0" * 32, b"\1" + b"\0" * 31, b"\xff" * 32], ids=repr)
def test_degenerate_key_signs_nothing(made: HandmadeRun, point: bytes) -> None:
    envelope = json.loads(made.seal())
    envelope["signatures"][0]["keyid"] = point.hex()
    with pytest.raises(ClfError):
        made.verify(canonical_json(envelope))
    envelope["signatures"][0]["sig"] = base64.b64encode(bytes(64)).decode()
    with pytest.raises(ClfError):
        made.verify(canonical_json(envelope))


def test_signature_over_another_payload_type_is_invalid(made: HandmadeRun) -> None:
    payload = canonical_json(made.statement())
    other = json.loads(seal_payload(payload, made.signing, payload_type="text/plain"))
    other["payloadType"] = "application/vnd.in-toto+json"
    with pytest.raises(SignatureInvalid):
        made.verify(canonical_json(other))


def test_signature_of_a_result_or_session_is_none_over_a_receipt(made: HandmadeRun) -> None:
    envelope = json.loads(made.seal())
    for kind in ("result", "session"):
        signature = made.signing.sign(kind, made.statement())
        envelope["signatures"][0]["sig"] = base64.b64encode(signature).decode()
        with pytest.raises(SignatureInvalid):
            made.verify(canonical_json(envelope))


def test_file_over_the_limit_is_too_large(made: HandmadeRun) -> None:
    with pytest.raises(TooLarge):
        made.verify(b" " * (MOST_RECEIPT_BYTES + 1))
    predicate = SignedReceipt.parse(made.seal()).predicate
    evidence = {"text": "x" * MOST_RECEIPT_BYTES}
    owner = predicate.owners[0].model_copy(update={"evidence": evidence})
    with pytest.raises(TooLarge):
        SignedReceipt.sign(predicate.model_copy(update={"owners": [owner]}), made.signing)
