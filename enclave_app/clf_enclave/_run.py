"""One run of one job, from sessions to sealed results."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from clf_enclave._alignment import Input, count_rows
from clf_enclave._compute import Report, compute
from clf_enclave._disclosure import Disclosure
from clf_enclave._operations import Output, read_parameters
from clf_enclave._owners import Owners
from clf_enclave._pull import TablePull
from clf_enclave._session import OpenSession, RunIdentity, run_secret
from clf_enclave._watch import Watch
from clf_enclave._workspace import Workspace
from clf_sdk.attestation import EvidenceProvider
from clf_sdk.protocol import JobInput, Rules, RunRequest

_IN_MEMORY_SHARE = 6
"""How many times their own size inputs take while they are joined in memory."""


@dataclass(frozen=True)
class _Computed:
    """Outputs by name, the row counts that the receipt states, and the rules at the beginning."""

    outputs: dict[str, Output]
    rows: dict[str, int]
    aligned_rows: int | None
    under: Rules


class EnclaveRun:
    """A run in progress.

    Parameters
    ----------
    request
        The job and where its servers are.
    provider
        Where quotes come from.
    report
        Called at each stage.
    """

    def __init__(self, request: RunRequest, provider: EvidenceProvider, report: Report) -> None:
        self._identity = RunIdentity.of(request, provider)
        self._report = report
        self._disclosure = Disclosure()
        self._owners = Owners(self._identity, request.endpoints, self._disclosure, report)
        self._watch = Watch(self._identity, self._disclosure)

    def _pull(self, sessions: dict[str, OpenSession]) -> dict[str, Input]:
        begun = time.perf_counter()
        pulls = {
            entry.name: TablePull(
                entry.name,
                sessions[entry.server],
                partial(self._owners.open, sessions[entry.server].endpoint),
                progress=partial(self._tell_pull, entry, begun),
            )
            for entry in self._identity.job.inputs
        }
        limit = self._identity.job.memory_limit_bytes
        if limit is not None:
            size = sum(pull.granted_bytes() for pull in pulls.values())
            if size * _IN_MEMORY_SHARE > limit:
                self._report("streaming", {"sealed_bytes": size})
                return {name: pull.stream() for name, pull in pulls.items()}
        tables: dict[str, Input] = {}
        for entry in self._identity.job.inputs:
            started = time.perf_counter()
            pull = pulls[entry.name]
            tables[entry.name] = pull.table()
            self._report(
                "pulled",
                {
                    "input": entry.name,
                    "server": entry.server,
                    "sealed_bytes": pull.pulled_bytes,
                    "seconds": time.perf_counter() - started,
                },
            )
        return tables

    def _tell_pull(self, entry: JobInput, started: float, pulled: int, total: int) -> None:
        self._report(
            "pulling",
            {
                "input": entry.name,
                "server": entry.server,
                "sealed_bytes": pulled,
                "total_bytes": total,
                "seconds": time.perf_counter() - started,
            },
        )

    def _compute(self, tables: dict[str, Input], secret: bytes) -> _Computed:
        under = self._disclosure.rules
        rows = {name: count_rows(table) for name, table in tables.items()}
        limit = self._identity.job.memory_limit_bytes
        with Workspace(None if limit is None else limit // 2) as workspace:
            outputs, aligned_rows = compute(
                self._identity.job,
                tables,
                workspace,
                self._disclosure,
                secret=secret,
                report=self._report_stage,
            )
        # Sessions that were opened anew while tables were pulled may have brought tighter rules.
        self._owners.check_outputs(self._row_level)
        return _Computed(outputs, rows, aligned_rows, under)

    def _report_stage(self, event: str, details: dict[str, Any]) -> None:
        self._watch.check()
        self._report(event, details)

    @cached_property
    def _row_level(self) -> frozenset[str]:
        operation = self._identity.job.operation
        return read_parameters(operation.name, operation.parameters).row_level_outputs()

    def execute(self) -> None:
        """Attest, pull, align, compute, seal, and put results and receipt to every owner.

        Raises
        ------
        ClfError
            The first thing that went wrong; nothing was put before all was computed, and nothing
            sealed before every owner had confirmed.
        """
        self._report("started", {"run": self._identity.run, "job": self._identity.job.digest})
        sessions = self._owners.open_all()
        self._owners.check_outputs(self._row_level)
        secret = run_secret(self._identity, sessions)
        tables = self._pull(sessions)
        computed = self._watch.during(sessions.values(), partial(self._compute, tables, secret))
        self._owners.deliver(
            sessions,
            computed.outputs,
            rows=computed.rows,
            aligned_rows=computed.aligned_rows,
            row_level=self._row_level,
            computed_under=computed.under,
        )

    def settle(self) -> None:
        """Wait until nothing of the run computes any more, after an owner stopped it."""
        self._watch.settle()
