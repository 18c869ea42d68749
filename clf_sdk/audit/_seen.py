"""The newest checkpoint that this user saw of each server's log."""

from __future__ import annotations

from pathlib import Path

import platformdirs

from clf_sdk.audit._checkpoint import Checkpoint
from clf_sdk.audit._files import replacing
from clf_sdk.errors import Malformed, SignatureInvalid


def seen_path(server: str) -> Path:
    """File that keeps the checkpoint of a server."""
    return Path(platformdirs.user_state_dir("clf")) / "audit" / f"{server}.checkpoint"


def load_seen(server: str, *, public_key: bytes) -> Checkpoint | None:
    """Return the newest checkpoint that was seen of a server, or None.

    Raises
    ------
    Malformed
        The file that keeps it was damaged.
    """
    path = seen_path(server)
    try:
        return Checkpoint.verify(path.read_text("utf-8"), public_key=public_key)
    except FileNotFoundError:
        return None
    except (Malformed, SignatureInvalid, UnicodeDecodeError) as error:
        raise Malformed(
            f"{path} does not hold a checkpoint of this server",
            hint="it was changed on this machine; delete it to trust what the server says now",
        ) from error


def save_seen(checkpoint: Checkpoint) -> None:
    """Keep a checkpoint as the newest that was seen of its server."""
    path = seen_path(checkpoint.server)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with replacing(path) as file:
        file.write(checkpoint.note.encode())
