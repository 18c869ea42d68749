"""Keys: derived for tables, sealed to people and enclaves, and for signatures."""

from clf_sdk.keys._derive import (
    KEY_BYTES,
    derive_column_key,
    derive_content_key,
    derive_document_key,
    derive_manifest_key,
    derive_memory_key,
    derive_memory_secret,
    derive_output_key,
    derive_person_salt,
    derive_policy_key,
    derive_run_secret,
)
from clf_sdk.keys._hpke import CLASSIC, HYBRID, PrivateKey, PublicKey
from clf_sdk.keys._signing import SigningKey, server_id, verify_note, verify_signature

__all__ = [
    "CLASSIC",
    "HYBRID",
    "KEY_BYTES",
    "PrivateKey",
    "PublicKey",
    "SigningKey",
    "derive_column_key",
    "derive_content_key",
    "derive_document_key",
    "derive_manifest_key",
    "derive_memory_key",
    "derive_memory_secret",
    "derive_output_key",
    "derive_person_salt",
    "derive_policy_key",
    "derive_run_secret",
    "server_id",
    "verify_note",
    "verify_signature",
]
