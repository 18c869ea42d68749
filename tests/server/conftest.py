from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2 as httpx
import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_testing import HandmadeEnclave, LocalServer, Simulation, job_input, make_job


@pytest.fixture
def shared(local: LocalServer, numbers: pa.Table, policy: clf.Policy) -> dict[str, Any]:
    """Table ``plans`` on the server in this process, as the server describes it."""
    return local.upload("plans", numbers, policy)


@pytest.fixture
def enclave(simulation: Simulation, local: LocalServer, shared: dict[str, Any]) -> HandmadeEnclave:
    """Return an enclave with a job on table ``plans``."""
    job = make_job([job_input(local.server_id, str(shared["name"]))])
    return HandmadeEnclave(simulation, local, job)


@pytest.fixture
def refused() -> Callable[[httpx.Response], tuple[int, str]]:
    """Check that an answer is a well-formed problem, and return status and code."""

    def check(answer: httpx.Response) -> tuple[int, str]:
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert set(problem) == {
            "type",
            "title",
            "status",
            "code",
            "detail",
            "hint",
            "rule",
            "request_id",
        }
        assert problem["type"] == "about:blank"
        assert problem["status"] == answer.status_code
        assert problem["request_id"] == answer.headers["x-request-id"]
        return answer.status_code, problem["code"]

    return check
