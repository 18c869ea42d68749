"""Write identity.json: identities of fixed keys, and what follows from them."""

from __future__ import annotations

import json
from pathlib import Path

from clf_sdk import Identity
from clf_sdk.keys import CLASSIC, HYBRID, PrivateKey, SigningKey
from clf_sdk.protocol import parse_json

_PRIVATE_BYTES = {HYBRID: 96, CLASSIC: 32}


def make() -> list[dict[str, object]]:
    """Return one entry for each suite."""
    entries: list[dict[str, object]] = []
    for suite, size in _PRIVATE_BYTES.items():
        identity = Identity(SigningKey(bytes(range(32))), PrivateKey(suite, bytes(range(size))))
        entries.append(
            {
                "private": parse_json(identity._to_bytes(), what="identity"),
                "public": identity.public.to_json(),
                "id": identity.id,
                "fingerprint": identity.fingerprint,
            }
        )
    return entries


if __name__ == "__main__":
    text = json.dumps(make(), indent=2) + "\n"
    Path(__file__).with_name("identity.json").write_text(text, "utf-8")
