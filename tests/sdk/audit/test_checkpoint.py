from __future__ import annotations

import base64

import pytest

from clf_sdk.audit import Checkpoint
from clf_sdk.audit._checkpoint import _key_hash
from clf_sdk.errors import Malformed, SignatureInvalid
from clf_sdk.keys import SigningKey, server_id, verify_note

KEY = SigningKey(bytes(range(32)))
ROOT = bytes(range(32, 64))
NOTE = Checkpoint.sign(KEY, size=18, root=ROOT).note
TEXT, SIGNATURE = NOTE.split("\n\n")


def test_published_signed_note() -> None:
    # The example of the signed-note specification's reference implementation.
    text = (
        "If you think cryptography is the answer to your problem,\n"
        "then you don't know what your problem is.\n"
    )
    signature = base64.b64decode(
        "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
    )
    kind, *key = base64.b64decode("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    assert kind == 1
    assert signature[:4] == _key_hash("PeterNeumann", bytes(key)) == bytes.fromhex("c74f20a3")
    verify_note(bytes(key), text, signature[4:])


def test_checkpoint_is_a_note_of_three_lines_about_one_server() -> None:
    origin = f"clf/audit/{server_id(KEY.public_bytes)}"
    assert TEXT.splitlines() == [origin, "18", base64.b64encode(ROOT).decode()]
    assert SIGNATURE.startswith(f"— {origin} ")
    checkpoint = Checkpoint.verify(NOTE, public_key=KEY.public_bytes)
    assert (checkpoint.server, checkpoint.size, checkpoint.root, checkpoint.note) == (
        server_id(KEY.public_bytes),
        18,
        ROOT,
        NOTE,
    )
    assert repr(checkpoint) == f"Checkpoint(server={origin[10:22]}…, size=18, root=202122232425…)"


def test_signatures_of_witnesses_are_passed_over() -> None:
    witnessed = NOTE + "— witness.example/w " + base64.b64encode(b"x" * 76).decode() + "\n"
    assert Checkpoint.verify(witnessed, public_key=KEY.public_bytes).size == 18


def test_any_changed_byte_is_refused() -> None:
    for place in range(len(NOTE.encode())):
        changed = bytearray(NOTE.encode())
        changed[place] ^= 1
        with pytest.raises((SignatureInvalid, Malformed)):
            Checkpoint.verify(changed.decode("utf-8", "replace"), public_key=KEY.public_bytes)


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n\n",
        TEXT,
        TEXT + "\n\n",
        NOTE[:-1],
        NOTE + "\n",
        "\n" + NOTE,
        NOTE.replace("\n", "\r\n"),
        NOTE.replace("\n18\n", "\n018\n"),
        NOTE.replace("\n18\n", "\n-1\n"),
        NOTE.replace("\n18\n", "\n１８\n"),  # noqa: RUF001 - digits, but not these
        NOTE.replace("\n18\n", "\n18\nan extension\n18\n"),
        NOTE.replace("—", "--"),
        NOTE + "x" * 5000,
    ],
)
def test_what_is_no_checkpoint_is_malformed(note: str) -> None:
    with pytest.raises(Malformed):
        Checkpoint.verify(note, public_key=KEY.public_bytes)


def test_checkpoint_of_another_server_is_refused() -> None:
    other = SigningKey.generate()
    with pytest.raises(SignatureInvalid, match="about the log of server"):
        Checkpoint.verify(NOTE, public_key=other.public_bytes)
    forged = Checkpoint.sign(other, size=18, root=ROOT).note
    forged = forged.replace(server_id(other.public_bytes), server_id(KEY.public_bytes))
    with pytest.raises(SignatureInvalid, match="not signed by"):
        Checkpoint.verify(forged, public_key=KEY.public_bytes)


def test_second_signature_by_the_same_key_must_hold_too() -> None:
    blob = SIGNATURE.split()[2]
    bad = base64.b64encode(base64.b64decode(blob)[:4] + bytes(64)).decode()
    with pytest.raises(SignatureInvalid):
        Checkpoint.verify(NOTE + SIGNATURE.replace(blob, bad), public_key=KEY.public_bytes)
