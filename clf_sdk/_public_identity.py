"""The public half of an identity: who somebody is, as far as CLF is concerned."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clf_sdk._cards import Identifier, card
from clf_sdk.errors import ConfigurationError, FormatTooNew, Malformed
from clf_sdk.keys import PublicKey, verify_signature
from clf_sdk.protocol import IdentityDocument, Json, identity_fingerprint, parse_json


@dataclass(frozen=True, repr=False)
class PublicIdentity:
    """The public keys of a person; they may be shown to anyone.

    Get a colleague's with `PublicIdentity.load`, from the file that ``clf identity export`` wrote,
    and compare the `fingerprint` with its holder over another channel.

    Parameters
    ----------
    document
        The identity document (docs/protocol.md §2).

    Raises
    ------
    FormatTooNew
        The HPKE suite is unknown to this version.
    Malformed
        The HPKE key is not one.
    """

    document: IdentityDocument

    def __post_init__(self) -> None:
        PublicKey.from_document(self.document.hpke.to_json())

    def __repr__(self) -> str:
        return f"PublicIdentity({self.fingerprint})"

    def _repr_html_(self) -> str:
        return card("Identity", self.fingerprint, {"identity id": Identifier(self.id)})

    @property
    def id(self) -> str:
        """Identity id: SHA-256 of the canonical JSON of the document, 64 hex digits."""
        return self.document.digest

    @property
    def fingerprint(self) -> str:
        """The id in short, to compare by phone: six groups of five digits."""
        return identity_fingerprint(self.id)

    def to_json(self) -> dict[str, Any]:
        """Return the identity document (docs/protocol.md §2)."""
        return self.document.to_json()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the identity document to a file, which must not hold anything else.

        Raises
        ------
        ConfigurationError
            The file exists already, with another content.
        """
        file, data = Path(path), json.dumps(self.to_json(), indent=2).encode() + b"\n"
        try:
            with file.open("xb") as stream:
                stream.write(data)
        except FileExistsError as error:
            if file.read_bytes() != data:  # it might be the private identity
                raise ConfigurationError(
                    f"{file} exists already", hint="it was left alone; name another file"
                ) from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> PublicIdentity:
        """Read an identity document from a file.

        Raises
        ------
        ConfigurationError
            It can't be read, or is not a public identity.
        FormatTooNew
            A later version of CLF wrote it.
        """
        try:
            data = Path(path).read_bytes()
            return cls(IdentityDocument.parse(parse_json(data, what="identity file")))
        except OSError as error:
            raise ConfigurationError(
                f"the identity file {path} can't be read: {error.strerror}",
                hint="its holder makes one with `clf identity export FILE`",
            ) from error
        except FormatTooNew:
            raise
        except Malformed as error:
            raise ConfigurationError(
                f"{path} is not a public identity: {error.message}",
                hint="its holder makes one with `clf identity export FILE`",
            ) from error

    def verify(self, kind: str, document: Json, signature: bytes) -> None:
        """Check that this identity signed a document of some kind.

        Raises
        ------
        SignatureInvalid
            It did not.
        """
        verify_signature(self.document.signing_key, kind, document, signature)
