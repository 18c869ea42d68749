"""One owner: a server process in simulation mode, a connection to it, and a job on its table."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import clf_sdk as clf
from clf_sdk._server_process import ServerProcess
from clf_sdk.align import join
from clf_sdk.attestation import EnclavePolicy, create_simulation
from clf_sdk.protocol import (
    AllowedEnclave,
    JobDocument,
    JobInput,
    Operation,
    RunRequest,
)

TABLE = "bench"
_RUNS = 1_000_000


@dataclass(frozen=True)
class Owner:
    """A running server and what is needed to use it."""

    folder: Path
    server: ServerProcess
    connection: clf.Connection
    policy: clf.Policy
    analyst: clf.Identity
    analyst_connection: clf.Connection

    @property
    def simulation(self) -> Path:
        """Directory of the simulated TEE."""
        return self.folder / "simulation"

    def request(self, key: str) -> RunRequest:
        """Return an approved run request for the latest version of all columns of the one table."""
        identity = self.analyst.public
        job = JobDocument(
            clf=1,
            type="job",
            name=TABLE,
            purpose="",
            analyst=identity.document,
            inputs=[
                JobInput(
                    name=TABLE,
                    server=self.connection.server,
                    table=TABLE,
                    version="latest",
                    columns=None,
                )
            ],
            align=join(TABLE, on=key),
            match_report=False,
            prepare=[],
            memory_limit_bytes=None,
            operation=Operation(name="glm", parameters={}),
            enclave=AllowedEnclave(
                mrenclave=self.policy.enclave.mrenclave,
                mrsigner=None,
                isv_prod_id=None,
                min_isv_svn=None,
            ),
            recipients=[identity.document],
        )
        self._approve(job)
        return RunRequest(
            clf=1,
            type="run-request",
            run=secrets.token_hex(16),
            job=job,
            endpoints=[self.connection.endpoint],
        )

    def _approve(self, document: JobDocument) -> None:
        job = clf.Job.of(document, endpoints=[self.connection.endpoint])
        clf.submit(job, identity=self.analyst, connections=[self.analyst_connection])
        clf.requests(self.connection)[job.digest].approve(runs=_RUNS)


@contextlib.contextmanager
def running_owner() -> Iterator[Owner]:
    """Start a server in a folder that is removed afterwards."""
    with contextlib.ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="clf-bench-")))
        create_simulation(folder / "simulation")
        server = ServerProcess(
            folder / "owner",
            name="owner",
            insecure_simulation=folder / "simulation" / "anchor.pem",
        )
        server.start()
        cleanup.callback(server.stop)
        command = [sys.executable, "-m", "clf_enclave", "measure"]
        measured = subprocess.run(command, capture_output=True, text=True, check=True)
        connection = clf.connect(server.owner)
        cleanup.callback(connection.close)
        policy = clf.Policy(
            enclave=EnclavePolicy(mrenclave=measured.stdout.strip()),
            operations=["glm"],
            runs=1_000_000,
            approval="automatic",
        )
        analyst = clf.Identity.create()
        analyst_connection = clf.connect(server.admit(analyst.public, label="analyst"))
        cleanup.callback(analyst_connection.close)
        yield Owner(folder, server, connection, policy, analyst, analyst_connection)
