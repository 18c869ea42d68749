"""The OpenAPI document, made without a running server; ``docs/openapi.json`` is a copy of it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from clf_server._app import create_apps
from clf_server._provision import create_server
from clf_server._state import load_state


def openapi_document() -> dict[str, Any]:
    """Return the document that a server serves as ``/openapi.json``."""
    with tempfile.TemporaryDirectory(prefix="clf-openapi-") as folder:
        made = create_server(Path(folder) / "server", name="any")
        state = load_state(made.directory)
        try:
            control, _ = create_apps(state)
            document: dict[str, Any] = control.openapi()
        finally:
            state.metadata.close()
    return document
