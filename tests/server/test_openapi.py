from __future__ import annotations

import json
from pathlib import Path

import pytest

from clf_server._openapi import openapi_document

CHECKED_IN = Path(__file__).parents[2] / "docs" / "openapi.json"


@pytest.fixture(scope="module")
def served() -> dict[str, object]:
    return openapi_document()


def test_checked_in_openapi_is_what_a_server_serves(served: dict[str, object]) -> None:
    # After a change of the routes: clf server openapi > docs/openapi.json
    assert json.loads(CHECKED_IN.read_text("utf-8")) == served


def test_every_reference_resolves(served: dict[str, object]) -> None:
    text = json.dumps(served)
    schemas = json.loads(text)["components"]["schemas"]
    names = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert names
    assert names <= set(schemas)


def test_the_protocol_s_routes_are_described(served: dict[str, object]) -> None:
    paths = json.loads(json.dumps(served))["paths"]
    assert {
        "/v1/challenges",
        "/v1/sessions",
        "/v1/uploads",
        "/v1/uploads/{upload}",
        "/v1/tables",
        "/v1/tables/{name}",
        "/v1/results/{run}",
        "/v1/results/{run}/{output}",
        "/v1/results/{run}/{output}/{name}",
        "/v1/results/{run}/{output}/{version_id}/{name}",
        "/v1/info",
        "/healthz",
        "/readyz",
    } <= set(paths)
    for methods in paths.values():
        for operation in methods.values():
            assert "default" in operation["responses"]
