"""Checks that the two documents of this package share."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from clf_sdk.errors import FormatTooNew, Malformed

_VERSION = 1


def check_document(document: Any, *, kind: str, keys: set[str]) -> dict[str, Any]:
    """Check version, type and the exact set of keys of a document.

    Raises
    ------
    FormatTooNew
        A later version wrote it.
    Malformed
        It is something else.
    """
    if not isinstance(document, dict):
        raise Malformed(f"the {kind} must be a JSON object")
    version = document.get("clf")
    if type(version) is int and version > _VERSION:
        raise FormatTooNew(
            f"the {kind} has version {version}, this side reads version {_VERSION}",
            hint="upgrade CLF on this side",
        )
    if type(version) is not int or version != _VERSION or document.get("type") != kind:
        raise Malformed(f'expected a document with "clf": {_VERSION} and "type": "{kind}"')
    if wrong := (keys | {"clf", "type"}) ^ set(document):
        names = ", ".join(sorted(str(name)[:40] for name in wrong))
        raise Malformed(f"the {kind} has missing or unknown fields: {names}")
    return document


def decode_base64(value: Any, *, what: str, max_bytes: int) -> bytes:
    """Decode standard Base64 of limited size.

    Raises
    ------
    Malformed
        It is not Base64, or too long.
    """
    if not isinstance(value, str):
        raise Malformed(f"the {what} must be Base64 text")
    if len(value) > (max_bytes + 2) // 3 * 4:
        raise Malformed(f"the {what} is larger than {max_bytes} bytes")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed(f"the {what} is not Base64") from error
