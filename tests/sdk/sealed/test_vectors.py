"""tests/vectors/sealed_table.json, re-derived with as little of CLF as possible."""

from __future__ import annotations

import base64
import hashlib
import json
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import rfc8785
from blake3 import blake3
from cryptography.cobblestone import Cobblestone256Decryptor
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from clf_sdk.keys import derive_column_key
from clf_sdk.sealed import open_manifest, open_table

_PATH = Path(__file__).parents[2] / "vectors" / "sealed_table.json"


@pytest.fixture(scope="module")
def vector() -> Any:
    return json.loads(_PATH.read_text(encoding="utf-8"))


def _hkdf(vector: Any, info: bytes) -> bytes:
    salt = bytes.fromhex(vector["version_id"])
    hkdf = HKDF(hashes.SHA256(), length=32, salt=salt, info=info)
    return hkdf.derive(bytes.fromhex(vector["table_key"]))


def _open_segment(column_key: bytes, context: bytes, segment: bytes) -> bytes:
    salt, commitment, ciphertext = segment[:32], segment[32:64], segment[64:]
    hkdf = HKDF(hashes.SHA256(), length=64, salt=salt, info=b"clf/1 segment\0" + context)
    material = hkdf.derive(column_key)
    assert material[32:] == commitment
    return AESGCM(material[:32]).decrypt(bytes(12), ciphertext, None)


def _decrypt(key: bytes, context: bytes, ciphertext: bytes) -> bytes:
    decryptor = Cobblestone256Decryptor(key, context)
    return decryptor.update(ciphertext) + decryptor.finalize()


def test_the_manifest(vector: Any) -> None:
    key = _hkdf(vector, b"clf/1 manifest")
    assert key.hex() == vector["manifest_key"]
    context = rfc8785.dumps(
        {"clf": 1, "type": "manifest", "table": vector["table"], "version": vector["version_id"]}
    )
    assert context.decode() == vector["manifest_context"]
    plaintext = _decrypt(key, context, base64.b64decode(vector["manifest_sealed"]))
    assert plaintext.decode() == vector["manifest_plaintext"]
    assert rfc8785.dumps(json.loads(plaintext)) == plaintext
    assert hashlib.sha256(plaintext).hexdigest() == vector["dataset_version"]


def test_the_segments(vector: Any) -> None:
    manifest = json.loads(vector["manifest_plaintext"])
    objects = [base64.b64decode(each) for each in vector["objects"]]
    assert [len(each) for each in objects] == [group["bytes"] for group in manifest["row_groups"]]
    for segment in vector["segments"]:
        key = _hkdf(vector, b"clf/1 column\0" + segment["column"].encode())
        assert key.hex() == segment["column_key"]
        context = rfc8785.dumps(
            {
                "clf": 1,
                "type": "segment",
                "table": vector["table"],
                "version": vector["version_id"],
                "column": segment["column"],
                "row_group": segment["row_group"],
            }
        )
        assert context.decode() == segment["context"]
        stop = segment["offset"] + segment["length"]
        sealed = objects[segment["row_group"]][segment["offset"] : stop]
        position = manifest["columns"].index(segment["column"])
        entry = manifest["row_groups"][segment["row_group"]]["segments"][position]
        assert entry == [len(sealed), blake3(sealed).hexdigest()]
        assert entry[1] == segment["blake3"]
        plaintext = _open_segment(key, context, sealed)
        assert plaintext == base64.b64decode(segment["plaintext"])
        (column,) = pa.ipc.open_stream(plaintext).read_all().columns
        assert column.to_pylist() == segment["values"]


def test_clf_opens_them(vector: Any) -> None:
    manifest = open_manifest(
        base64.b64decode(vector["manifest_sealed"]),
        manifest_key=bytes.fromhex(vector["manifest_key"]),
        table=vector["table"],
        version_id=vector["version_id"],
        expected_version=vector["dataset_version"],
    )
    objects = [base64.b64decode(each) for each in vector["objects"]]
    table_key = bytes.fromhex(vector["table_key"])
    keys = {
        name: derive_column_key(table_key, vector["version_id"], name)
        for name in manifest.schema.names
    }
    table = open_table(manifest, keys, lambda name, start, stop: objects[int(name)][start:stop])
    for column in table.column_names:
        values = [s["values"] for s in vector["segments"] if s["column"] == column]
        assert table[column].to_pylist() == list(chain.from_iterable(values))
