"""Nothing that a server stores, logs or sends on the data listener holds a value of a table."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd
import pytest
import requests

import clf_sdk as clf
from clf_enclave._program import make_provider
from clf_enclave._session import RunIdentity, open_session
from clf_sdk._server_process import ServerProcess
from clf_sdk.audit import RemoteLog
from clf_sdk.keys import PrivateKey, SigningKey
from clf_sdk.protocol import JobDocument, Profile
from clf_testing import Simulation, execute

TEXT, LEVEL, ATTR = "marker-text-7f3a", "marker-level-91c2", "marker-attr-55d0"
NUMBER, REAL = 0x1122334455667788, 1.2345678901234567e123
MARKERS = [
    *(word.encode() for word in (TEXT, LEVEL, ATTR)),
    struct.pack("<q", NUMBER),
    struct.pack("<d", REAL),
    str(NUMBER).encode(),
    repr(REAL).encode(),
]


def _frame() -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "id": range(50),
            "text": [TEXT] * 50,
            "number": [NUMBER] * 50,
            "real": [REAL] * 50,
            "level": pd.Categorical(["a", LEVEL] * 25),
            "y": [float(n % 7) for n in range(50)],
            "x": [float(n % 5) for n in range(50)],
        }
    )
    frame.attrs["note"] = ATTR
    return frame


def _refuse_what_can_be_refused(
    connection: clf.Connection, job: clf.Job, simulation: Simulation
) -> None:
    """Ask for what the server refuses and logs, with markers wherever text is free."""
    operation = {"name": "dump", "parameters": {LEVEL: ATTR, "n": NUMBER >> 9}}
    changes = {"purpose": TEXT, "operation": operation}
    forbidden = JobDocument.parse(job.document.to_json() | changes)
    with pytest.raises(clf.ClfError, match="not approved"):
        execute(forbidden, [connection.endpoint], simulation.provider())
    stranger = clf.connect(connection.profile.model_copy(update={"token": TEXT}))
    with pytest.raises(clf.ClfError, match="token"):
        stranger.tables()
    stranger.close()


def _secrets(server: ServerProcess, analyst: Profile, *tickets: str) -> list[bytes]:
    keys = [(server.directory / name).read_bytes() for name in ("identity.key", "kek.key")]
    tokens = [profile.token.encode() for profile in (server.owner, analyst)]
    encoded = [base64.b64encode(key) for key in keys] + [key.hex().encode() for key in keys]
    return [*keys, *encoded, *tokens, *(ticket.encode() for ticket in tickets)]


@pytest.mark.parametrize("blob_listener", [True, False])
def test_no_plaintext_value_is_stored_logged_or_sent(
    make_server: Callable[..., ServerProcess],
    policy: clf.Policy,
    simulation: Simulation,
    tmp_path: Path,
    *,
    blob_listener: bool,
) -> None:
    server = make_server("owner", blob_listener=blob_listener)
    connection = clf.connect(server.owner)
    table = clf.share(_frame(), name="t", policy=policy, to=connection)
    analyst = clf.Identity.create()
    profile = server.admit(analyst.public, label="analyst")
    asking = clf.connect(profile)
    job = clf.Job(
        name="j",
        inputs=[table],
        on="id",
        operation=clf.GLM(outcome="y", predictors=["x"], family="gaussian"),
        enclave=policy.enclave,
        analyst=analyst,
    )
    clf.submit(job, identity=analyst, connections=[asking])
    clf.requests(connection)[job.digest].approve(runs=2)
    run = clf.run(job, insecure_simulation=simulation.directory)
    assert len(clf.fetch(run, connections=[connection], identity=analyst).to_pandas()) == 2

    identity = RunIdentity(
        "ab" * 16,
        job.document,
        PrivateKey.generate(),
        SigningKey.generate(),
        make_provider(simulation.directory),
    )
    session = open_session(identity, connection.endpoint)
    assert (session.access.blobs.url is None) is not blob_listener
    base = session.access.blobs.url or connection.profile.url
    assert urlsplit(base).scheme == ("http" if blob_listener else "https")
    ca = tmp_path / "ca.pem"
    ca.write_text(connection.profile.ca)
    sent = b""
    for name in ("manifest", "0"):
        answer = requests.get(
            f"{base}/v1/blobs/{session.session.inputs[0].version_id}/{name}",
            headers={
                "Authorization": f"CLF-Ticket {session.access.blobs.ticket}",
                "Connection": "close",  # the server waits for idle connections when it stops
            },
            verify=str(ca),
            timeout=30,
        )
        assert answer.status_code == 200
        sent += answer.content
    log = tmp_path / "audit.jsonl"
    _refuse_what_can_be_refused(connection, job, simulation)
    events = RemoteLog(connection.http, connection.server).export(log).events
    assert {"table.shared", "session.refused", "token.refused", "result.stored"} <= set(events)
    connection.close()
    asking.close()

    kept = {str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert any("objects" in path for path in kept)
    assert server.log.read_bytes()
    for marker in MARKERS:
        assert marker not in sent
        assert [path for path, data in kept.items() if marker in data] == []
    tickets = (session.access.blobs.ticket, session.access.results.ticket)
    for secret in _secrets(server, profile, *tickets):
        assert secret not in log.read_bytes()
        assert secret not in (server.directory / "metadata.sqlite").read_bytes()
        assert secret not in server.log.read_bytes()
