"""The process: read a run request, choose the source of quotes, report in JSON lines."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import clf_enclave
import clf_sdk
from clf_enclave._compute import Report
from clf_enclave._run import EnclaveRun
from clf_sdk.attestation import (
    EvidenceProvider,
    GramineProvider,
    SimulatedPlatform,
    SimulatedProvider,
    simulated_measurement,
)
from clf_sdk.errors import ClfError, ConfigurationError, RunFailed
from clf_sdk.protocol import RunRequest, parse_json

_MOST_REQUEST_BYTES = 8 << 20
SIMULATED_PROD_ID = 1
SIMULATED_SVN = 1


def program_measurement(package: Path | None = None) -> str:
    """Stand-in for MRENCLAVE in a simulation: digest of this program's own source files.

    Parameters
    ----------
    package
        Folder of a program of one's own, which is measured with it; None for CLF's alone.
    """
    roots = [Path(package.__path__[0]) for package in (clf_sdk, clf_enclave)]
    return simulated_measurement(roots if package is None else [*roots, package.resolve()])


def make_provider(
    insecure_simulation: Path | None, *, package: Path | None = None
) -> EvidenceProvider:
    """Return the source of quotes: Gramine, or a simulated platform that was asked for by name."""
    if insecure_simulation is None:
        return GramineProvider()
    platform = SimulatedPlatform.load(insecure_simulation)
    return SimulatedProvider(
        platform,
        mrenclave=program_measurement(package),
        mrsigner=platform.mrsigner,
        isv_prod_id=SIMULATED_PROD_ID,
        isv_svn=SIMULATED_SVN,
    )


def load_request(path: Path) -> RunRequest:
    """Read a run request.

    Raises
    ------
    ConfigurationError
        The file can't be read or is too large.
    Malformed
        It is not a run request.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_REQUEST_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{path} can't be read: {error.strerror}") from error
    if len(data) > _MOST_REQUEST_BYTES:
        raise ConfigurationError(f"{path} is larger than a run request can be")
    return RunRequest.parse(parse_json(data, what="run request"))


def _report(event: str, details: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"event": event, **details}) + "\n")
    sys.stdout.flush()


def execute_reporting(request: RunRequest, provider: EvidenceProvider, report: Report) -> bool:
    """Run one job, and report its end too; tell whether it ended well."""
    return reporting(lambda: EnclaveRun(request, provider, report).execute(), report)


def reporting(execute: Callable[[], None], report: Report) -> bool:
    """Execute something in the enclave, report how it failed, and tell whether it ended well.

    Whatever fails inside the enclave is told as a code and a message without values; an error that
    is not CLF's own is told by its type alone, because its text could hold data.
    """
    try:
        execute()
    except ClfError as error:
        _report_failure(error, report)
        return False
    except Exception as error:  # noqa: BLE001 - the boundary: a traceback could carry data out
        failure = RunFailed(
            f"the program failed with {type(error).__name__}",
            hint="this is a defect of the program, or memory ran out",
        )
        _report_failure(failure, report)
        return False
    return True


def _report_failure(error: ClfError, report: Report) -> None:
    report("failed", {"code": error.code, "message": error.message, "hint": error.hint})


def run_program(path: Path, *, insecure_simulation: Path | None) -> int:
    """Run the job of a file and return the exit status; reports go to standard output."""
    return run_request_file(path, execute_reporting, insecure_simulation=insecure_simulation)


def run_request_file(
    path: Path,
    execute: Callable[[RunRequest, EvidenceProvider, Report], bool],
    *,
    insecure_simulation: Path | None,
    package: Path | None = None,
) -> int:
    """Read a run request, execute it, and return the exit status; reports go to standard output.

    Parameters
    ----------
    path
        The run request.
    execute
        Runs it, and tells whether it ended well.
    insecure_simulation
        INSECURE: directory of a simulated TEE; None for SGX.
    package
        Folder of a program of one's own.
    """
    try:
        request = load_request(path)
        provider = make_provider(insecure_simulation, package=package)
    except ClfError as error:
        _report_failure(error, _report)
        return 1
    _report("process", {"pid": os.getpid(), "mode": provider.mode})
    return 0 if execute(request, provider, _report) else 1
