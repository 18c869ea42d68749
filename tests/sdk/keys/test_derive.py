from __future__ import annotations

import hashlib
import hmac

import pytest

from clf_sdk.keys import (
    derive_column_key,
    derive_content_key,
    derive_manifest_key,
    derive_policy_key,
)

KEY, VERSION = bytes(range(32)), "0123456789abcdef" * 2


def _hkdf(info: bytes) -> bytes:
    """RFC 5869, for one block."""
    extracted = hmac.digest(bytes.fromhex(VERSION), KEY, hashlib.sha256)
    return hmac.digest(extracted, info + b"\x01", hashlib.sha256)


def test_keys_are_hkdf_with_the_protocol_s_info() -> None:
    assert derive_manifest_key(KEY, VERSION) == _hkdf(b"clf/1 manifest")
    assert derive_policy_key(KEY, VERSION) == _hkdf(b"clf/1 policy")
    assert derive_content_key(KEY, VERSION) == _hkdf(b"clf/1 content")
    assert derive_column_key(KEY, VERSION, "größe") == _hkdf(b"clf/1 column\x00" + "größe".encode())


def test_each_column_version_and_table_key_has_its_own_key() -> None:
    keys = {
        derive_manifest_key(KEY, VERSION),
        derive_column_key(KEY, VERSION, "a"),
        derive_column_key(KEY, VERSION, "b"),
        derive_column_key(KEY, VERSION, ""),
        derive_column_key(KEY, VERSION[::-1], "a"),
        derive_column_key(KEY[::-1], VERSION, "a"),
    }
    assert len(keys) == 6


def test_table_key_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        derive_manifest_key(KEY[:-1], VERSION)
