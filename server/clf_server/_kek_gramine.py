"""A key-encryption key that only this enclave's program, on this machine, can derive.

Gramine offers the SGX sealing keys as files of 16 bytes below ``/dev/attestation/keys``. The key is
not used as it is: each key-encryption key is derived from it with a salt of its own, so that a
rotation yields a fresh one.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from clf_sdk.errors import ConfigurationError
from clf_server._kek import KEK_BYTES, AesKek

_SEALING_KEY_BYTES = 16
_INFO = b"clf/1 key-encryption key"


def derive_gramine_kek(attestation: Path, sealing_key: str, *, salt: bytes) -> AesKek:
    """Derive a key-encryption key from a sealing key of Gramine's.

    Parameters
    ----------
    attestation
        Directory of Gramine's pseudo-files, ``/dev/attestation``.
    sealing_key
        ``"mrsigner"``, the same for all programs of one signer, or ``"mrenclave"``, for this exact
        program only.
    salt
        Random, and kept with what the key wraps.

    Raises
    ------
    ConfigurationError
        This process has no such sealing key.
    """
    path = attestation / "keys" / f"_sgx_{sealing_key}"
    try:
        key = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"the sealing key {path} can't be read: {error.strerror}",
            hint="it exists inside gramine-sgx only; elsewhere use key_provider = file or vault",
        ) from error
    if len(key) != _SEALING_KEY_BYTES or not any(key):
        raise ConfigurationError(
            f"{path} does not hold a sealing key of {_SEALING_KEY_BYTES} bytes",
            hint="it does inside gramine-sgx; gramine-direct has none",
        )
    hkdf = HKDF(hashes.SHA256(), length=KEK_BYTES, salt=salt, info=_INFO)
    return AesKek(hkdf.derive(key))
