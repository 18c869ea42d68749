from __future__ import annotations

import base64
import copy
import secrets
from typing import Any

import pytest

from clf_sdk.errors import FormatTooNew, InvalidName, Malformed
from clf_sdk.protocol import (
    Challenge,
    Document,
    JobDocument,
    Profile,
    ResultEnvelope,
    RunRequest,
    RunResults,
    SessionAnswer,
    canonical_json,
    check_name,
    digest,
)

KEY = {"suite": "s", "public_key": "AAAA"}
IDENTITY: dict[str, Any] = {
    "clf": 1,
    "type": "identity",
    "signing_key": base64.b64encode(bytes(32)).decode(),
    "hpke": KEY,
}
MEMBER: dict[str, Any] = {
    "of": {"kind": "input", "input": "a"},
    "columns": None,
    "duplicates": {"rule": "refuse"},
    "prefix": "",
}
ALIGN: dict[str, Any] = {
    "kind": "join",
    "how": "left",
    "members": [MEMBER, MEMBER | {"of": {"kind": "input", "input": "b"}, "columns": ["id"]}],
    "keys": [
        {
            "name": "id",
            "read_as": None,
            "trim": True,
            "fold_case": False,
            "date_formats": ["%Y-%m-%d"],
        }
    ],
    "nulls": "unmatched",
}
PREPARE: list[dict[str, Any]] = [
    {"kind": "filter", "where": "age > 18"},
    {"kind": "one_hot", "column": "sex", "categories": ["f"], "drop_first": False},
]
JOB: dict[str, Any] = {
    "clf": 1,
    "type": "job",
    "name": "doctor-visits",
    "purpose": "why",
    "analyst": IDENTITY,
    "inputs": [
        {"name": "a", "server": "ab" * 32, "table": "t", "version": "latest", "columns": None},
        {"name": "b", "server": "cd" * 32, "table": "u", "version": "ef" * 32, "columns": ["id"]},
    ],
    "align": ALIGN,
    "match_report": True,
    "prepare": PREPARE,
    "memory_limit_bytes": 2**30,
    "operation": {"name": "glm", "parameters": {"outcome": "y", "confidence": 0.95}},
    "enclave": {"mrenclave": "ef" * 32, "mrsigner": None, "isv_prod_id": None, "min_isv_svn": None},
    "recipients": [IDENTITY],
}
RUN: dict[str, Any] = {
    "clf": 1,
    "type": "run-request",
    "run": "ab" * 16,
    "job": JOB,
    "endpoints": [
        {"server": server * 32, "url": "https://h:1", "ca": "PEM"} for server in ("ab", "cd")
    ],
}
PROFILE: dict[str, Any] = {
    "clf": 1,
    "type": "profile",
    "role": "owner",
    "label": "owner",
    "analyst": None,
    "name": "clinic",
    "url": "https://h:1",
    "ca": "PEM",
    "server": "ab" * 32,
    "token": "a-token",
    "expires_at": 1,
    "authorities_at": 0,
    "successions": [],
}
CHALLENGE: dict[str, Any] = {
    "nonce": "ab" * 32,
    "server": "ab" * 32,
    "public_key": "AAAA",
    "expires_in_seconds": 60,
}
SESSION: dict[str, Any] = {
    "session": {
        "clf": 1,
        "type": "session",
        "server": "ab" * 32,
        "session": "ab" * 16,
        "nonce": "ab" * 32,
        "binding": "ab" * 64,
        "run": "ab" * 16,
        "job": "ab" * 32,
        "mode": "dcap",
        "granted_at": 1,
        "grant": {"number": 1, "runs": 1, "expires_at": 2, "resumed": False},
        "inputs": [],
        "secrets": ["a-secret"],
        "rules": {
            "smallest_group": 10,
            "dominance": [{"largest": 1, "percent": 50}],
            "round_counts": 1,
            "output_rows": None,
            "output_bytes": 1,
            "differencing": "refuse",
            "row_level": ["ab" * 32],
            "release": "review",
        },
        "access": "ab" * 32,
    },
    "signature": "AAAA",
    "access": {
        "keys": {"suite": "s", "sealed": "AAAA"},
        "blobs": {"url": None, "ticket": "t", "expires_in_seconds": 600},
        "results": {"ticket": "t", "key": {"suite": "s", "public_key": "AAAA"}},
    },
    "collateral": None,
}
ENVELOPE: dict[str, Any] = {
    "clf": 1,
    "type": "result",
    "run": "ab" * 16,
    "job": "ab" * 32,
    "mode": "simulation",
    "output": "fit",
    "outputs": ["fit"],
    "kind": "table",
    "shape": [2, 1],
    "version_id": "ab" * 16,
    "version": "ab" * 32,
    "objects": {"manifest": 1, "0": 1},
    "reviewers": ["ab" * 32],
    "keys": [{"suite": "s", "sealed": "AAAA"}],
}
RESULTS: dict[str, Any] = {
    "run": "ab" * 16,
    "outputs": [
        {
            "envelope": ENVELOPE,
            "signature": "AAAA",
            "created_at": 1,
            "release": "released",
            "decided_at": 2,
            "reason": "fine",
        }
    ],
}
DOCUMENTS: list[tuple[type[Document], dict[str, Any]]] = [
    (JobDocument, JOB),
    (RunRequest, RUN),
    (Profile, PROFILE),
    (Challenge, CHALLENGE),
    (SessionAnswer, SESSION),
    (ResultEnvelope, ENVELOPE),
    (RunResults, RESULTS),
]
each_document = pytest.mark.parametrize(
    ("kind", "value"), DOCUMENTS, ids=[kind.__name__ for kind, _ in DOCUMENTS]
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value, but where the keys are free: parameters and objects."""
    if path[-1:] in (("parameters",), ("objects",)):
        return [path]
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [path, *(place for key, child in inner for place in _places(child, (*path, key)))]


def _with(value: Any, path: tuple[Any, ...], replacement: Any) -> Any:
    changed = copy.deepcopy(value)
    *parents, last = path
    target = changed
    for key in parents:
        target = target[key]
    target[last] = replacement
    return changed


@each_document
def test_document_round_trips(kind: type[Document], value: dict[str, Any]) -> None:
    parsed = kind.parse(value)
    assert parsed.to_json() == value
    assert parsed.canonical() == canonical_json(value)
    assert parsed.digest == digest(value)


@each_document
def test_missing_field_is_malformed_at_every_depth(
    kind: type[Document], value: dict[str, Any]
) -> None:
    for path in _places(value):
        if path and isinstance(path[-1], str):
            changed = copy.deepcopy(value)
            target = changed
            for key in path[:-1]:
                target = target[key]
            del target[path[-1]]
            with pytest.raises(Malformed):
                kind.parse(changed)


@each_document
def test_unknown_field_is_malformed_at_every_depth(
    kind: type[Document], value: dict[str, Any]
) -> None:
    for path in _places(value):
        found = value
        for key in path:
            found = found[key]
        if isinstance(found, dict) and path[-1:] != ("parameters",):
            changed = _with(value, (*path, "more"), 1)
            with pytest.raises(Malformed):
                kind.parse(changed)


@each_document
@pytest.mark.parametrize(
    "wrong", [True, 1.5, "\0", "x" * 10_000, [[]], {"a": 1}, -1], ids=lambda w: repr(w)[:9]
)
def test_value_of_another_type_is_never_coerced(
    kind: type[Document], value: dict[str, Any], wrong: Any
) -> None:
    for path in _places(value):
        if not path:
            continue
        changed = _with(value, path, wrong)
        try:
            parsed = kind.parse(changed)
        except (Malformed, FormatTooNew) as error:
            message = str(error)
        else:  # it fits this place, and stands there as it came
            message = ""
            assert canonical_json(parsed.to_json()) == canonical_json(changed)
        assert len(message) < 500
        assert "x" * 100 not in message


@each_document
def test_higher_version_is_too_new_at_every_depth(
    kind: type[Document], value: dict[str, Any]
) -> None:
    places = [path for path in _places(value) if path[-1:] == ("clf",)]
    for path in places or [("clf",)]:
        with pytest.raises(FormatTooNew, match="version 2"):
            kind.parse(_with(value, path, 2))


@pytest.mark.parametrize("version", [0, -1, 1.0, "1", True, None])
def test_other_versions_are_malformed(version: Any) -> None:
    with pytest.raises(Malformed):
        JobDocument.parse(JOB | {"clf": version})


@pytest.mark.parametrize("value", [None, [], "job", 1, {}])
def test_what_is_no_object_is_malformed(value: Any) -> None:
    with pytest.raises(Malformed):
        JobDocument.parse(value)


@pytest.mark.parametrize("place", ["nonce", "server"])
@pytest.mark.parametrize("text", ["AB" * 32, "ab" * 31, "ab" * 32 + "\n", " " + "ab" * 31, "0x"])
def test_digests_are_lower_case_hex_of_their_length(place: str, text: str) -> None:
    with pytest.raises(Malformed):
        Challenge.parse(CHALLENGE | {place: text})


@pytest.mark.parametrize("text", ["A", "AAA", "AA AA", "AAAA\n", "____", "AAAA=", "AB==", "é"])
def test_base64_is_strict(text: str) -> None:
    with pytest.raises(Malformed):
        Challenge.parse(CHALLENGE | {"public_key": text})


@pytest.mark.parametrize("name", ["a", "0", "a.b", "a_b-c.d", "x" * 64])
def test_good_names(name: str) -> None:
    assert check_name(name, what="a table") == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a..b",
        "../a",
        "a/b",
        "/a",
        "a\\b",
        "a\0",
        "a\n",
        "a b",
        "A",
        "é",
        "-a",
        "_a",
        ".a",
        "x" * 65,
        "x" * 10_000,
        "\u0661",
        None,
        7,
        b"a",
    ],
    ids=lambda name: repr(name)[:20],
)
def test_bad_names_are_refused_briefly(name: object) -> None:
    with pytest.raises(InvalidName, match="can't be the name of a table") as caught:
        check_name(name, what="a table")
    assert len(str(caught.value)) < 300
    changed = copy.deepcopy(JOB)
    changed["inputs"][0]["table"] = name
    with pytest.raises(Malformed):
        JobDocument.parse(changed)


def test_documents_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        JobDocument.parse(JOB).name = "other"  # type: ignore[misc] # what the test is about


def test_error_shows_no_value() -> None:
    value = secrets.token_hex(8)
    with pytest.raises(Malformed) as caught:
        Profile.parse(PROFILE | {"role": value, "token": 7})
    assert value not in str(caught.value)
