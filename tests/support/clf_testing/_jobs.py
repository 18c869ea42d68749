"""Jobs and run requests, built by hand."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Sequence
from typing import Any

from clf_sdk import Identity, PublicIdentity
from clf_sdk._http import HttpClient
from clf_sdk.align import join
from clf_sdk.protocol import (
    JOB_SIGNATURE,
    AllowedEnclave,
    Endpoint,
    JobDocument,
    JobInput,
    JoinNode,
    Operation,
    Profile,
    RunRequest,
)
from clf_testing._people import the_analyst

MRENCLAVE = "ab" * 32

GLM: dict[str, Any] = {
    "outcome": "y",
    "predictors": ["x"],
    "family": "gaussian",
    "intercept": True,
    "confidence": 0.95,
    "missing": "drop",
}


def joined(names: Sequence[str], keys: Sequence[str] = ("id",)) -> JoinNode:
    """Return an inner join of inputs."""
    return join(*names, on=keys)


def job_input(server: str, table: str, **changes: Any) -> JobInput:
    fields: dict[str, Any] = {
        "name": table,
        "server": server,
        "table": table,
        "version": "latest",
        "columns": None,
    }
    return JobInput(**(fields | changes))


def allowed_enclave(**pins: Any) -> AllowedEnclave:
    """Pin a program; without pins, the one that `Simulation.provider` proves."""
    fields: dict[str, Any] = {
        "mrenclave": None,
        "mrsigner": None,
        "isv_prod_id": None,
        "min_isv_svn": None,
    }
    return AllowedEnclave(**(fields | (pins or {"mrenclave": MRENCLAVE})))


def make_job(
    inputs: Sequence[JobInput],
    *,
    operation: str = "glm",
    parameters: dict[str, Any] | None = None,
    keys: Sequence[str] = ("id",),
    enclave: AllowedEnclave | None = None,
    analyst: Identity | None = None,
    recipients: Sequence[PublicIdentity] | None = None,
    **more: Any,
) -> JobDocument:
    """Make a job document; ``more`` are other fields, such as ``align``."""
    fields: dict[str, Any] = {"match_report": False, "prepare": [], "memory_limit_bytes": None}
    fields |= more
    fields.setdefault("align", joined([entry.name for entry in inputs], keys))
    return JobDocument(
        clf=1,
        type="job",
        name="a-job",
        purpose="",
        analyst=(analyst or the_analyst()).public.document,
        inputs=list(inputs),
        operation=Operation(name=operation, parameters=GLM if parameters is None else parameters),
        enclave=enclave or allowed_enclave(),
        recipients=[who.document for who in recipients or [Identity.create().public]],
        **fields,
    )


def signed(job: JobDocument, signer: Identity | None = None) -> dict[str, Any]:
    """Return the body of a submission."""
    document = job.to_json()
    signature = (signer or the_analyst()).sign(JOB_SIGNATURE, document)
    return {"job": document, "signature": base64.b64encode(signature).decode()}


def agree(
    job: JobDocument, *, owner: Profile, analyst: Profile, runs: int = 1000, days: float = 1
) -> None:
    """Submit a job to a server, and approve it there."""
    body = json.dumps(signed(job)).encode()
    approval = {"runs": runs, "expires_at": int(time.time() + days * 86400)}
    headers = {"Content-Type": "application/json"}
    for profile, path, data in (
        (analyst, "/v1/jobs", body),
        (owner, f"/v1/jobs/{job.digest}/approval", json.dumps(approval).encode()),
    ):
        client = HttpClient(profile)
        client.send("POST", path, data=data, headers=headers)
        client.close()


def endpoint_of(profile: Profile, **changes: Any) -> Endpoint:
    fields = {"server": profile.server, "url": profile.url, "ca": profile.ca}
    return Endpoint(**(fields | changes))


def run_request(job: JobDocument, endpoints: Sequence[Endpoint]) -> RunRequest:
    return RunRequest(
        clf=1,
        type="run-request",
        run=secrets.token_hex(16),
        job=job,
        endpoints=list(endpoints),
    )
