"""One owner: a server process in simulation mode, a connection to it, and a job on its table."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
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

_ANALYST = "analyst"
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
        return run_request([self], clf.Job.of(job, endpoints=[self.connection.endpoint]))


def run_request(owners: Sequence[Owner], job: clf.Job) -> RunRequest:
    """Submit a job to its owners, let each approve it, and return a run of it."""
    connections = [owner.analyst_connection for owner in owners]
    clf.submit(job, identity=owners[0].analyst, connections=connections)
    for owner in owners:
        clf.requests(owner.connection)[job.digest].approve(runs=_RUNS)
    return RunRequest(
        clf=1,
        type="run-request",
        run=secrets.token_hex(16),
        job=job.document,
        endpoints=list(job.endpoints),
    )


@contextlib.contextmanager
def running_owner() -> Iterator[Owner]:
    """Start a server in a folder that is removed afterwards."""
    with running_owners(1, operations=["glm"]) as (owner,):
        yield owner


@contextlib.contextmanager
def running_owners(count: int, *, operations: Sequence[str]) -> Iterator[list[Owner]]:
    """Start servers that trust one simulated TEE, in a folder that is removed afterwards."""
    with contextlib.ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="clf-bench-")))
        create_simulation(folder / "simulation")
        command = [sys.executable, "-m", "clf_enclave", "measure"]
        measured = subprocess.run(command, capture_output=True, text=True, check=True)
        policy = clf.Policy(
            enclave=EnclavePolicy(mrenclave=measured.stdout.strip()),
            operations=operations,
            runs=1_000_000,
            approval="automatic",
        )
        analyst = clf.Identity.create()
        owners = []
        for number in range(count):
            server = ServerProcess(
                folder / f"owner{number}",
                name=f"owner{number}",
                insecure_simulation=folder / "simulation" / "anchor.pem",
                analysts={_ANALYST: analyst.public},
            )
            server.start()
            cleanup.callback(server.stop)
            connection = clf.connect(server.owner)
            cleanup.callback(connection.close)
            analyst_connection = clf.connect(server.directory / f"{_ANALYST}.profile.json")
            cleanup.callback(analyst_connection.close)
            owners.append(Owner(folder, server, connection, policy, analyst, analyst_connection))
        yield owners
