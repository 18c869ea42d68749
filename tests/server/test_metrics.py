from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator

import pyarrow as pa
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

import clf_sdk as clf
from clf_sdk._server_process import ServerProcess, free_port
from clf_server._metrics import metrics_app
from clf_testing import HandmadeEnclave, LocalServer, Simulation, job_input, make_job

Values = dict[tuple[str, frozenset[tuple[str, str]]], float]


def look(server: LocalServer) -> Values:
    return parse(TestClient(metrics_app(server.state.metrics)).get("/metrics").text)


def parse(text: str) -> Values:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(values: Values, name: str, **labels: str) -> float:
    return values.get((name, frozenset(labels.items())), 0.0)


@pytest.fixture
def enclave(
    simulation: Simulation, local: LocalServer, numbers: pa.Table, policy: clf.Policy
) -> HandmadeEnclave:
    local.upload("plans", numbers, policy)
    return HandmadeEnclave(simulation, local, make_job([job_input(local.server_id, "plans")]))


@pytest.mark.embedded("each replica counts for itself")
def test_sessions_are_counted_by_outcome_and_reason(enclave: HandmadeEnclave) -> None:
    enclave.open()
    enclave.ask(server="00" * 32)
    values = look(enclave.server)
    assert value(values, "clf_sessions_total", outcome="granted", reason="") == 1
    refused = value(values, "clf_sessions_total", outcome="refused", reason="binding_mismatch")
    assert refused == 1
    assert value(values, "clf_session_seconds_count") == 2


@pytest.mark.embedded("each replica counts for itself")
def test_bytes_requests_and_what_is_stored_are_shown(enclave: HandmadeEnclave) -> None:
    server = enclave.server
    answer = enclave.open()
    headers = {"Authorization": f"CLF-Ticket {answer.access.blobs.ticket}"}
    path = f"/v1/blobs/{answer.session.inputs[0].version_id}/0"
    pulled = len(server.data.get(path, headers=headers).content)
    values = look(server)
    (described,) = server.control.get("/v1/tables", headers=server.bearer()).json()["tables"]
    assert value(values, "clf_ciphertext_bytes_total", direction="out") == pulled
    assert value(values, "clf_ciphertext_bytes_total", direction="in") == described["sealed_bytes"]
    assert value(values, "clf_sealed_bytes") == described["sealed_bytes"]
    assert value(values, "clf_tables") == 1
    assert value(values, "clf_jobs", state="approved") == 1
    assert value(values, "clf_paused") == 0
    assert value(values, "clf_audit_entries") == len(server.audited())
    requests_made = value(
        values, "clf_requests_total", method="POST", route="/v1/sessions", status="200"
    )
    assert requests_made == 1


@pytest.mark.embedded("each replica counts for itself")
def test_nobody_outside_chooses_a_label(local: LocalServer) -> None:
    for path in ("/secret-path-1", "/secret-path-2"):
        local.control.get(path)
    text = TestClient(metrics_app(local.state.metrics)).get("/metrics").text
    assert "secret-path" not in text
    assert value(parse(text), "clf_requests_total", method="any", route="none", status="404") == 2


def test_only_metrics_are_on_their_listener(local: LocalServer) -> None:
    client = TestClient(metrics_app(local.state.metrics))
    for path in ("/", "/v1/info", "/metrics/x"):
        assert client.get(path).status_code == 404


@pytest.fixture
def process(make_server: Callable[..., ServerProcess]) -> Iterator[tuple[ServerProcess, int]]:
    """Return a server process with a listener for metrics, and that listener's port."""
    server, port = make_server("metered"), free_port()
    server.stop()
    conf = server.directory / "clf_server.conf"
    conf.write_text(conf.read_text() + f"\nmetrics_port={port}\n")
    server.start()
    yield server, port
    server.stop()


def test_listener_answers_and_each_line_of_the_log_is_json(
    process: tuple[ServerProcess, int],
) -> None:
    server, port = process
    answer = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10)
    assert value(parse(answer.text), "clf_tables") == 0
    assert "process_resident_memory_bytes" in answer.text
    server.stop()
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert {"server_started", "server_stopped", "request"} <= {line["event"] for line in lines}
    assert all({"level", "timestamp"} <= set(line) for line in lines)


def test_warnings_of_libraries_are_json_lines_too() -> None:
    program = (
        "import logging, warnings\n"
        "from clf_server._logging import configure_logging\n"
        "configure_logging()\n"
        "logging.getLogger('uvicorn.error').warning('gone: %s', 'x')\n"
        "warnings.warn('old', DeprecationWarning, stacklevel=1)\n"
        "try:\n    1 / 0\nexcept ZeroDivisionError:\n    logging.exception('failed')\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", program], capture_output=True, text=True, check=True
    )
    first, second, third = (json.loads(line) for line in done.stderr.splitlines())
    assert (first["event"], first["level"]) == ("gone: x", "warning")
    assert "DeprecationWarning" in second["event"]
    assert "ZeroDivisionError" in third["exception"]
