"""Signed checkpoints: C2SP tlog-checkpoint in a C2SP signed note (docs/protocol.md §14.3)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

from clf_sdk.audit._merkle import HASH_BYTES
from clf_sdk.errors import Malformed, SignatureInvalid
from clf_sdk.keys import SigningKey, server_id, verify_note

MOST_NOTE_BYTES = 4096

_ORIGIN = "clf/audit/"
_ED25519 = b"\x01"
_KEY_HASH_BYTES = 4
_TEXT = re.compile(
    r"(?P<origin>clf/audit/(?P<server>[0-9a-f]{64}))\n"
    r"(?P<size>0|[1-9][0-9]{0,14})\n"
    r"(?P<root>[A-Za-z0-9+/]{43}=)\n"
)
_SIGNATURE = re.compile(r"— (?P<name>[^\s+]+) (?P<blob>[A-Za-z0-9+/]+={0,2})")


def _key_hash(name: str, public_key: bytes) -> bytes:
    key = name.encode() + b"\n" + _ED25519 + public_key
    return hashlib.sha256(key).digest()[:_KEY_HASH_BYTES]


@dataclass(frozen=True)
class Checkpoint:
    """What a server's audit log was at one moment, signed by the server's identity key.

    Attributes
    ----------
    server
        Whose log it is.
    size
        Number of entries.
    root
        Root of the Merkle tree over them, 32 bytes.
    note
        The signed note.
    """

    server: str
    size: int
    root: bytes
    note: str

    def __repr__(self) -> str:
        root = self.root.hex()
        return f"Checkpoint(server={self.server[:12]}…, size={self.size}, root={root[:12]}…)"

    @classmethod
    def sign(cls, key: SigningKey, *, size: int, root: bytes) -> Checkpoint:
        """Sign the state of a log."""
        server = server_id(key.public_bytes)
        name = _ORIGIN + server
        text = f"{name}\n{size}\n{base64.b64encode(root).decode()}\n"
        signature = _key_hash(name, key.public_bytes) + key.sign_note(text)
        note = f"{text}\n— {name} {base64.b64encode(signature).decode()}\n"
        return cls(server, size, root, note)

    @classmethod
    def verify(cls, note: str, *, public_key: bytes) -> Checkpoint:
        """Check a signed note, and return what it says.

        Parameters
        ----------
        note
            The signed note. Lines of signatures by other keys are passed over.
        public_key
            Identity key of the server, 32 bytes.

        Raises
        ------
        Malformed
            It is not a checkpoint of an audit log.
        SignatureInvalid
            It is not signed by this key, or is about another server's log.
        """
        text, separator, lines = note.rpartition("\n\n")
        text += "\n"
        stated = _TEXT.fullmatch(text)
        if stated is None or not separator or len(note) > MOST_NOTE_BYTES:
            raise _malformed()
        if not lines.endswith("\n"):
            raise _malformed()
        if stated["server"] != server_id(public_key):
            raise SignatureInvalid(
                f"the checkpoint is about the log of server {stated['server'][:12]}…, "
                f"not of {server_id(public_key)[:12]}…"
            )
        name = stated["origin"]
        expected = _key_hash(name, public_key)
        signatures = [_signature(line) for line in lines.removesuffix("\n").split("\n")]
        own = [blob for signer, blob in signatures if signer == name and blob.startswith(expected)]
        if not own:
            raise SignatureInvalid("the checkpoint is not signed by the server's identity key")
        for blob in own:
            verify_note(public_key, text, blob[_KEY_HASH_BYTES:])
        root = _decode(stated["root"])
        if len(root) != HASH_BYTES:
            raise _malformed()
        return cls(stated["server"], int(stated["size"]), root, note)


def _signature(line: str) -> tuple[str, bytes]:
    parts = _SIGNATURE.fullmatch(line)
    if parts is None:
        raise _malformed()
    return parts["name"], _decode(parts["blob"])


def _decode(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise _malformed() from error
    if base64.b64encode(raw).decode() != text:
        raise _malformed()
    return raw


def _malformed() -> Malformed:
    return Malformed(
        "the text is not a checkpoint of an audit log",
        hint="a checkpoint is a signed note, as `clf audit export` writes it",
    )
