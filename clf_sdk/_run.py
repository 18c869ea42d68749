"""``run()``: start an enclave process on a job, or hand the job to one that is running."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from typing import Any, ClassVar, Protocol

from tqdm.auto import tqdm

from clf_sdk._cards import Identifier, Shown, card
from clf_sdk._connection import any_simulated, known_names
from clf_sdk._enclave_process import EnclaveProcess, StartedEnclave
from clf_sdk._enclave_service import EnclaveService
from clf_sdk._job import Job
from clf_sdk._not_picklable import NotPicklable
from clf_sdk._run_stages import RunStages, read_stages, steps_of
from clf_sdk.attestation import TrustAnchor
from clf_sdk.errors import BY_CODE, ConfigurationError, DeadlineExceeded, RunFailed
from clf_sdk.protocol import RunRequest, check_run

_POLL_SECONDS = 0.05
_DONE, _FAILED = "delivered", "failed"


class _Enclave(Protocol):
    def events(self) -> list[dict[str, Any]]:
        """Everything the enclave has reported so far, oldest first."""

    def ended(self) -> str | None:
        """Say how the enclave ended, when it did so without a word; None while it runs."""


class Run(NotPicklable):
    """A run of a job, from `run`.

    Attributes
    ----------
    id
        The run's id: 32 hex digits. `fetch` needs it.
    job
        The job.
    """

    _not_pickled: ClassVar[str] = "it follows a process; keep its id, and use clf.Run.find(id)"

    def __init__(
        self, job: Job, run_id: str, enclave: _Enclave, *, simulation: Path | None = None
    ) -> None:
        self.job = job
        self.id = run_id
        self._enclave = enclave
        self._simulation = simulation

    def __repr__(self) -> str:
        warning = "; INSECURE SIMULATION" if self.simulated else ""
        return f"Run({self.id[:12]}… of {self.job.name!r}: {self.stage}{warning})"

    def _repr_html_(self) -> str:
        stages, names = self.stages, known_names()
        rows: dict[str, Shown] = {"run": Identifier(self.id), "job": Identifier(self.job.digest)}
        for server in self.job.document.servers():
            rows[names.get(server, f"server {server[:12]}…")] = stages.owner_in_words(server)
        rows["enclave"] = stages.stages_in_words()
        return card("Run", f"{self.job.name} ({self.stage})", rows, simulation=self.simulated)

    @property
    def simulated(self) -> bool:
        """Whether no hardware vouches for the run, as far as this process can tell."""
        return (
            self._simulation is not None
            or self.stages.mode == "simulation"
            or any_simulated(self.job.document.servers())
        )

    @property
    def stages(self) -> RunStages:
        """How far the run has come, owner by owner."""
        return read_stages(self.job.document, self.events)

    @classmethod
    def find(cls, run: str, *, insecure_simulation: str | os.PathLike[str] | None = None) -> Run:
        """Return a run that was started on this machine, also by a kernel that is gone.

        Parameters
        ----------
        run
            The run's id.
        insecure_simulation
            INSECURE: directory of the simulated TEE that it was started with.

        Raises
        ------
        NotFound
            No such run was started by this user on this machine.
        """
        enclave = StartedEnclave(check_run(run))
        request = enclave.request
        job = Job.of(request.job, endpoints=request.endpoints)
        simulation = None if insecure_simulation is None else Path(insecure_simulation)
        return cls(job, run, enclave, simulation=simulation)

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
    def ended(self) -> str | None:
        """How the enclave's process ended; None while it runs, or when it serves other runs too."""
        return self._enclave.ended()

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
        total = steps_of(self.job.document)
        disable = None if progress is None else not progress
        with tqdm(total=total, desc=f"run {self.job.name}", disable=disable) as bar:
            while True:
                ended = self._enclave.ended()
                events = self.events
                stages = read_stages(self.job.document, events)
                bar.update(stages.steps - bar.n)
                bar.set_postfix_str(_underway(stages), refresh=False)
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


def _underway(stages: RunStages) -> str:
    """Say what is being pulled, for the end of a progress bar."""
    return "; ".join(
        str(entry) for entry in stages.inputs if entry.pulled_bytes and not entry.complete
    )


def _failure(event: dict[str, Any]) -> Exception:
    kind = BY_CODE.get(str(event.get("code")), RunFailed)
    hint = event.get("hint")
    return kind(f"the run failed: {event.get('message')}", hint=None if hint is None else str(hint))


def _id_of(run: Run | str) -> str:
    return run.id if isinstance(run, Run) else check_run(run)


def run(
    job: Job,
    *,
    enclave: str | None = None,
    insecure_simulation: str | os.PathLike[str] | None = None,
    resume: Run | str | None = None,
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
    resume
        A run of this job that crashed, or its id. It goes on under its id in another enclave, and
        no owner counts it again: within 15 minutes of its beginning (unless an owner set another
        time), three times, and only before it has delivered anything. New noise is paid anew.
    wait
        Whether to wait until the run has ended.
    progress
        Whether to show a progress bar; by default only on a terminal or in a notebook.

    Raises
    ------
    ConfigurationError
        The options contradict each other.
    RunRefused
        The run to be resumed is of another job, began too long ago, or has a result.
    ClfError
        The error that ended the run.
    """
    if enclave is not None and insecure_simulation is not None:
        raise ConfigurationError(
            "an enclave that runs elsewhere chose its own source of quotes",
            hint="give enclave or insecure_simulation, not both",
        )
    run_id = secrets.token_hex(16) if resume is None else _id_of(resume)
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
