from __future__ import annotations

import base64
import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clf_sdk.align import join
from clf_sdk.errors import FormatTooNew, Malformed
from clf_sdk.protocol import JobDocument, RunRequest, canonical_json, parse_json

INPUT: dict[str, Any] = {
    "name": "a",
    "server": "ab" * 32,
    "table": "t",
    "version": "latest",
    "columns": ["id", "x"],
}
IDENTITY: dict[str, Any] = {
    "clf": 1,
    "type": "identity",
    "signing_key": base64.b64encode(bytes(32)).decode(),
    "hpke": {"suite": "s", "public_key": "AAAA"},
}
ALIGN = join("a", on="id").to_json()
JOB: dict[str, Any] = {
    "clf": 1,
    "type": "job",
    "name": "j",
    "purpose": "",
    "analyst": IDENTITY,
    "inputs": [INPUT],
    "align": ALIGN,
    "match_report": False,
    "prepare": [],
    "memory_limit_bytes": None,
    "operation": {"name": "glm", "parameters": {"outcome": "x"}},
    "enclave": {"mrenclave": "ef" * 32, "mrsigner": None, "isv_prod_id": None, "min_isv_svn": None},
    "recipients": [IDENTITY],
}


def nested(levels: int) -> dict[str, Any]:
    node: dict[str, Any] = {"kind": "input", "input": "a"}
    for _ in range(levels - 1):
        node = {"kind": "union", "of": [node], "source": None}
    return node


ENCLAVE = JOB["enclave"]
SIGNER = {"mrenclave": None, "mrsigner": "ef" * 32, "isv_prod_id": 1, "min_isv_svn": 1}
CANONICAL = canonical_json(JOB)


@given(st.integers(0, len(CANONICAL) - 1), st.integers(1, 255))
def test_any_changed_byte_is_another_job_or_none(position: int, flip: int) -> None:
    changed = bytearray(CANONICAL)
    changed[position] ^= flip
    try:
        other = JobDocument.parse(parse_json(bytes(changed), what="job"))
    except (Malformed, FormatTooNew):  # "clf" may become 2 to 9
        return
    assert other.digest != JobDocument.parse(JOB).digest


def test_digest_does_not_depend_on_layout() -> None:
    spaced = json.dumps(dict(reversed(JOB.items())), indent=4)
    assert JobDocument.parse(parse_json(spaced, what="job")).digest == JobDocument.parse(JOB).digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": []}, "inputs"),
        ({"inputs": [INPUT, INPUT]}, "same name"),
        ({"inputs": [INPUT | {"name": f"i{n}"} for n in range(65)]}, "inputs"),
        ({"inputs": [INPUT | {"columns": []}]}, "columns"),
        ({"inputs": [INPUT | {"columns": ["id", "id"]}]}, "column twice"),
        ({"inputs": [INPUT | {"columns": ["x"]}]}, "lacks 1 of the key columns"),
        ({"inputs": [INPUT | {"columns": ["id", ""]}]}, "columns"),
        ({"inputs": [INPUT | {"version": "newest"}]}, "version"),
        ({"align": ALIGN | {"keys": []}}, "keys"),
        ({"align": ALIGN | {"keys": ALIGN["keys"] * 2}}, "named twice"),
        ({"align": ALIGN | {"kind": "outer_join"}}, "align"),
        ({"align": join("a", "b", on="id").to_json()}, "each input exactly once"),
        ({"align": join("a", "a", on="id").to_json()}, "each input exactly once"),
        ({"align": {"kind": "union", "of": [], "source": None}}, "align"),
        ({"align": nested(9)}, "nested deeper"),
        ({"prepare": [{"kind": "drop_table"}]}, "prepare"),
        ({"memory_limit_bytes": 1000}, "memory_limit_bytes"),
        ({"enclave": ENCLAVE | {"mrenclave": None}}, "pins no program"),
        ({"enclave": ENCLAVE | {"mrenclave": "00" * 32}}, "zeros"),
        ({"enclave": SIGNER | {"mrsigner": "00" * 32}}, "zeros"),
        ({"enclave": SIGNER | {"isv_prod_id": None}}, "pins no program"),
        ({"enclave": SIGNER | {"min_isv_svn": None}}, "pins no program"),
        ({"enclave": SIGNER | {"min_isv_svn": 65536}}, "min_isv_svn"),
        ({"enclave": SIGNER | {"isv_prod_id": True}}, "isv_prod_id"),
        ({"recipients": []}, "recipients"),
        ({"purpose": "x" * 4001}, "purpose"),
    ],
)
def test_job_that_makes_no_sense_is_malformed(change: dict[str, Any], message: str) -> None:
    with pytest.raises(Malformed, match=message):
        JobDocument.parse(JOB | change)


def test_servers_stand_in_order_of_first_appearance() -> None:
    job = copy.deepcopy(JOB)
    servers = ["cd" * 32, "ab" * 32, "cd" * 32]
    job["inputs"] = [
        INPUT | {"name": f"i{n}", "server": server} for n, server in enumerate(servers)
    ]
    job["align"] = join("i0", "i1", "i2", on="id").to_json()
    assert JobDocument.parse(job).servers() == servers[:2]


def test_run_request_needs_an_endpoint_for_each_server() -> None:
    request = {"clf": 1, "type": "run-request", "run": "ab" * 16, "job": JOB}
    endpoint = {"server": "cd" * 32, "url": "https://h", "ca": ""}
    with pytest.raises(Malformed, match="no endpoint for server abab"):
        RunRequest.parse(request | {"endpoints": [endpoint]})
