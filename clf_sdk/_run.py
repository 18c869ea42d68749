"""``run()``: start an enclave process on a job, or hand the job to one that is running."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from typing import Any, Protocol

from tqdm.auto import tqdm

from clf_sdk._enclave_process import EnclaveProcess
from clf_sdk._enclave_service import EnclaveService
from clf_sdk._job import Job
from clf_sdk.attestation import TrustAnchor
from clf_sdk.errors import BY_CODE, ConfigurationError, DeadlineExceeded, RunFailed
from clf_sdk.protocol import RunRequest

_POLL_SECONDS = 0.05
_STAGES = 3  # aligned, computed, delivered; one more for each pull, two sessions with each server
_DONE, _FAILED = "delivered", "failed"


class _Enclave(Protocol):
    def events(self) -> list[dict[str, Any]]:
        """Everything the enclave has reported so far, oldest first."""

    def ended(self) -> str | None:
        """Say how the enclave ended, when it did so without a word; None while it runs."""


class Run:
    """A run of a job, from `run`.

    Attributes
    ----------
    id
        The run's id: 32 hex digits. `fetch` needs it.
    job
        The job.
    """

    def __init__(
        self, job: Job, run_id: str, enclave: _Enclave, *, simulation: Path | None = None
    ) -> None:
        self.job = job
        self.id = run_id
        self._enclave = enclave
        self._simulation = simulation

    def __repr__(self) -> str:
        return f"Run({self.id[:12]}… of {self.job.name!r}: {self.stage})"

    @property
    def events(self) -> list[dict[str, Any]]:
        """What the enclave has reported: stages, servers and times; never data."""
        return self._enclave.events()

    @property
    def anchor(self) -> TrustAnchor:
        """Root under which the receipt must verify: Intel's, or that of a simulation by name."""
        if self._simulation is None:
            return TrustAnchor.intel()
        return TrustAnchor.insecure_simulation(self._simulation / "anchor.pem")

    @property
    def stage(self) -> str:
        """Name of the last stage that was reached."""
        events = self.events
        return str(events[-1]["event"]) if events else "starting"

    def wait(self, *, timeout_seconds: float | None = None, progress: bool | None = None) -> Run:
        """Wait until the run has ended. Interrupting stops the waiting, not the run.

        Parameters
        ----------
        timeout_seconds
            How long at most; by default without limit.
        progress
            Whether to show a progress bar; by default only on a terminal or in a notebook.

        Raises
        ------
        DeadlineExceeded
            It still runs.
        ClfError
            The error that ended the run.
        """
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        document = self.job.document
        total = 2 * len(document.servers()) + len(document.inputs) + _STAGES
        disable = None if progress is None else not progress
        with tqdm(total=total, desc=f"run {self.job.name}", disable=disable) as bar:
            while True:
                ended = self._enclave.ended()
                events = self.events
                steps = [event for event in events if event["event"] not in ("process", "started")]
                bar.update(min(len(steps), total) - bar.n)
                if events and events[-1]["event"] == _DONE:
                    return self
                if events and events[-1]["event"] == _FAILED:
                    raise _failure(events[-1])
                if ended is not None:
                    raise RunFailed(f"the enclave ended without a result: {ended}")
                if deadline is not None and time.monotonic() > deadline:
                    raise DeadlineExceeded(
                        f"run {self.id} still runs", hint="call wait() again; it goes on"
                    )
                time.sleep(_POLL_SECONDS)


def _failure(event: dict[str, Any]) -> Exception:
    kind = BY_CODE.get(str(event.get("code")), RunFailed)
    hint = event.get("hint")
    return kind(f"the run failed: {event.get('message')}", hint=None if hint is None else str(hint))


def run(
    job: Job,
    *,
    enclave: str | None = None,
    insecure_simulation: str | os.PathLike[str] | None = None,
    wait: bool = True,
    progress: bool | None = None,
) -> Run:
    """Run a job in an enclave.

    Parameters
    ----------
    job
        The job.
    enclave
        Address of an enclave that is running (``clf enclave serve``), for example
        ``"http://localhost:4490"``. By default a process of its own is started on this machine.
    insecure_simulation
        INSECURE: directory of a simulated TEE, for a process on a machine without SGX.
    wait
        Whether to wait until the run has ended.
    progress
        Whether to show a progress bar; by default only on a terminal or in a notebook.

    Raises
    ------
    ConfigurationError
        The options contradict each other.
    ClfError
        The error that ended the run.
    """
    if enclave is not None and insecure_simulation is not None:
        raise ConfigurationError(
            "an enclave that runs elsewhere chose its own source of quotes",
            hint="give enclave or insecure_simulation, not both",
        )
    run_id = secrets.token_hex(16)
    request = RunRequest(
        clf=1,
        type="run-request",
        run=run_id,
        job=job.document,
        endpoints=[entry for entry in job.endpoints if entry.server in job.document.servers()],
    )
    handle: _Enclave
    simulation = None if insecure_simulation is None else Path(insecure_simulation)
    if enclave is not None:
        handle = EnclaveService(enclave, request)
    else:
        handle = EnclaveProcess(request, insecure_simulation=simulation)
    started = Run(job, run_id, handle, simulation=simulation)
    return started.wait(progress=progress) if wait else started
