"""An enclave app as a process on this machine."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import platformdirs

from clf_sdk.errors import ConfigurationError
from clf_sdk.protocol import RunRequest


class EnclaveProcess:
    """One run in a process of its own, which outlives this one.

    Request, events and log lie in the user's state directory, under the run's id.

    Parameters
    ----------
    request
        What to run.
    insecure_simulation
        Directory of a simulated TEE, or None for SGX.
    """

    def __init__(self, request: RunRequest, *, insecure_simulation: Path | None) -> None:
        if insecure_simulation is not None and not insecure_simulation.is_dir():
            raise ConfigurationError(
                f"there is no simulation in {insecure_simulation}",
                hint="make one with `clf simulation init DIR`",
            )
        folder = Path(platformdirs.user_state_dir("clf")) / "runs" / request.run
        folder.mkdir(parents=True, mode=0o700)
        self._events = folder / "events.jsonl"
        self._log = folder / "log.txt"
        path = folder / "request.json"
        path.write_bytes(request.canonical())
        command = [sys.executable, "-m", "clf_enclave", "run", str(path)]
        if insecure_simulation is not None:
            command += ["--insecure-simulation", str(insecure_simulation.resolve())]
        with self._events.open("wb") as events, self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=events,
                stderr=log,
                start_new_session=True,  # interrupting this process does not interrupt that one
            )
        # Reaps the process when it ends, whether or not anybody still asks for it.
        threading.Thread(target=self._process.wait, daemon=True).start()

    def __repr__(self) -> str:
        return f"EnclaveProcess(pid={self._process.pid})"

    def events(self) -> list[dict[str, Any]]:
        """Everything the enclave has reported so far, oldest first."""
        lines = self._events.read_bytes().split(b"\n")[:-1]  # the last one is not complete yet
        return [json.loads(line) for line in lines]

    def ended(self) -> str | None:
        """Say how the process ended; None while it runs."""
        status = self._process.poll()
        return None if status is None else f"exit status {status}, log in {self._log}"
