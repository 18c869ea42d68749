"""Parquet with modular encryption, the other peer."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pyarrow.parquet import encryption

_NONCE_BYTES = 12


class _Keys(encryption.KmsClient):  # type: ignore[misc]  # pyarrow ships no types
    """Wraps keys in this process: the fastest key service that there can be."""

    def __init__(self, _configuration: Any) -> None:
        super().__init__()
        self._cipher = AESGCM(bytes(32))

    def wrap_key(self, key_bytes: bytes, _master: str) -> str:
        return base64.b64encode(self._cipher.encrypt(bytes(_NONCE_BYTES), key_bytes, None)).decode()

    def unwrap_key(self, wrapped: str, _master: str) -> bytes:
        return self._cipher.decrypt(bytes(_NONCE_BYTES), base64.b64decode(wrapped), None)


class EncryptedParquet:
    """One file, each column under a key, AES-256-GCM, on the local disk."""

    def __init__(self, path: Path, columns: list[str]) -> None:
        self._path = path
        self._factory = encryption.CryptoFactory(_Keys)
        self._connection = encryption.KmsConnectionConfig()
        self._configuration = encryption.EncryptionConfiguration(
            footer_key="footer",
            column_keys={"columns": columns},
            encryption_algorithm="AES_GCM_V1",
            data_key_length_bits=256,
        )

    def write(self, table: pa.Table, **options: Any) -> float:
        """Write a table; return the seconds."""
        self._path.unlink(missing_ok=True)
        started = time.perf_counter()
        properties = self._factory.file_encryption_properties(self._connection, self._configuration)
        pq.write_table(table, self._path, encryption_properties=properties, **options)
        return time.perf_counter() - started

    def read(self) -> tuple[pa.Table, float]:
        """Read the table; return it with the seconds."""
        started = time.perf_counter()
        properties = self._factory.file_decryption_properties(self._connection)
        table = pq.read_table(self._path, decryption_properties=properties)
        return table, time.perf_counter() - started
