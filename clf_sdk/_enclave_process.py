"""An enclave app as a process on this machine."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import platformdirs

from clf_sdk.errors import ConfigurationError, NotFound
from clf_sdk.protocol import RunRequest, parse_json

_REQUEST, _EVENTS, _LOG, _ALIVE = "request.json", "events.jsonl", "log.txt", "alive"


def _folder_of(run: str) -> Path:
    """Return where the newest enclave of a run keeps its files."""
    attempts = Path(platformdirs.user_state_dir("clf")) / "runs" / run
    numbers = [int(each.name) for each in attempts.iterdir()] if attempts.exists() else []
    return attempts / str(max(numbers, default=1))


def _new_folder(run: str) -> Path:
    """Make one for the next enclave of a run: one that crashed may still write to its own."""
    folder = _folder_of(run)
    while True:
        try:
            folder.mkdir(parents=True, mode=0o700)
        except FileExistsError:
            folder = folder.with_name(str(int(folder.name) + 1))
        else:
            return folder


class StartedEnclave:
    """One run in a process of its own, which outlives the one that started it.

    Request, events and log lie in the user's state directory, under the run's id, in a folder for
    each enclave that carried it. The process
    holds a lock on a file there for as long as it lives, so that anybody can tell.

    Parameters
    ----------
    run
        The run's id.

    Raises
    ------
    NotFound
        No such run was started by this user on this machine.
    """

    def __init__(self, run: str) -> None:
        self._folder = _folder_of(run)
        if not (self._folder / _REQUEST).exists():
            raise NotFound(
                f"no run {run[:12]}… was started by this user on this machine",
                hint="give the whole id, as run.id shows it",
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._folder.parent.name[:12]}…)"

    @property
    def request(self) -> RunRequest:
        """What runs."""
        data = (self._folder / _REQUEST).read_bytes()
        return RunRequest.parse(parse_json(data, what="run request"))

    def events(self) -> list[dict[str, Any]]:
        """Everything the enclave has reported so far, oldest first."""
        # What stands behind the last line feed is not complete yet.
        lines = (self._folder / _EVENTS).read_bytes().split(b"\n")[:-1]
        return [json.loads(line) for line in lines]

    def ended(self) -> str | None:
        """Say how the process ended; None while it runs."""
        with (self._folder / _ALIVE).open("rb") as alive:
            try:
                fcntl.flock(alive, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return None
        return f"its process is gone, log in {self._folder / _LOG}"


class EnclaveProcess(StartedEnclave):
    """One run that this process starts.

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
        folder = _new_folder(request.run)
        path = folder / _REQUEST
        path.write_bytes(request.canonical())
        super().__init__(request.run)
        command = [sys.executable, "-m", "clf_enclave", "run", str(path)]
        if insecure_simulation is not None:
            command += ["--insecure-simulation", str(insecure_simulation.resolve())]
        with (
            (folder / _EVENTS).open("wb") as events,
            (folder / _LOG).open("wb") as log,
            (folder / _ALIVE).open("wb") as alive,
        ):
            fcntl.flock(alive, fcntl.LOCK_EX)
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=events,
                stderr=log,
                start_new_session=True,  # interrupting this process does not interrupt that one
                pass_fds=[alive.fileno()],  # the lock lasts as long as a descriptor is open
            )
        # Reaps the process when it ends, whether or not anybody still asks for it.
        threading.Thread(target=self._process.wait, daemon=True).start()

    def ended(self) -> str | None:
        """Say how the process ended; None while it runs."""
        status = self._process.poll()
        return None if status is None else f"exit status {status}, log in {self._folder / _LOG}"
