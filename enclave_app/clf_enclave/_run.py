"""One run of one job, from sessions to sealed results."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property, partial

from clf_enclave._alignment import Input, count_rows
from clf_enclave._compute import Report, compute
from clf_enclave._disclosure import Disclosure
from clf_enclave._operations import Output, read_parameters
from clf_enclave._pull import TablePull
from clf_enclave._receipt import make_receipt, put_receipt
from clf_enclave._results import SealedOutput, put_outputs, seal_outputs
from clf_enclave._session import OpenSession, RunIdentity, open_session, run_secret
from clf_enclave._workspace import Workspace
from clf_sdk.attestation import EvidenceProvider
from clf_sdk.errors import BindingMismatch, NotReady, PolicyRefused, TicketRefused
from clf_sdk.keys import PrivateKey, SigningKey
from clf_sdk.protocol import Endpoint, JobInput, RunRequest
from clf_sdk.receipt import SignedReceipt

_MOST_ATTEMPTS = 360
_PAUSE_SECONDS = 1.0
_IN_MEMORY_SHARE = 6
"""How many times their own size inputs take while they are joined in memory."""


@dataclass(frozen=True)
class _Computed:
    """Outputs by name, and the row counts that the receipt states."""

    outputs: dict[str, Output]
    rows: dict[str, int]
    aligned_rows: int


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
        self._identity = RunIdentity(
            run=request.run,
            job=request.job,
            hpke=PrivateKey.generate(),
            signing=SigningKey.generate(),
            provider=provider,
        )
        endpoints = {endpoint.server: endpoint for endpoint in request.endpoints}
        self._endpoints = [endpoints[server] for server in request.job.servers()]
        self._report = report
        self._disclosure = Disclosure()

    def _open(self, endpoint: Endpoint) -> OpenSession:
        started = time.perf_counter()
        session = self._patiently(endpoint)
        self._disclosure.add(endpoint.server, session.session.rules)
        self._report(
            "session",
            {
                "server": endpoint.server,
                "session": session.session.session,
                "seconds": time.perf_counter() - started,
            },
        )
        return session

    def _patiently(self, endpoint: Endpoint) -> OpenSession:
        """Open a session, as often as it takes a server to seal the rows that may leave."""
        for _ in range(_MOST_ATTEMPTS):
            try:
                return open_session(self._identity, endpoint)
            except NotReady:  # the server has waited for a while before it said so
                self._report("waiting", {"server": endpoint.server})
                time.sleep(_PAUSE_SECONDS)
        return open_session(self._identity, endpoint)

    def _pull(self, sessions: dict[str, OpenSession]) -> dict[str, Input]:
        begun = time.perf_counter()
        pulls = {
            entry.name: TablePull(
                entry.name,
                sessions[entry.server],
                partial(self._open, sessions[entry.server].endpoint),
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
        rows = {name: count_rows(table) for name, table in tables.items()}
        limit = self._identity.job.memory_limit_bytes
        with Workspace(None if limit is None else limit // 2) as workspace:
            outputs, aligned_rows = compute(
                self._identity.job,
                tables,
                workspace,
                self._disclosure,
                secret=secret,
                report=self._report,
            )
        # Sessions that were opened anew while tables were pulled may have brought tighter rules.
        self._check_outputs()
        return _Computed(outputs, rows, aligned_rows)

    @cached_property
    def _row_level(self) -> frozenset[str]:
        operation = self._identity.job.operation
        return read_parameters(operation.name, operation.parameters).row_level_outputs()

    def _check_outputs(self) -> None:
        self._disclosure.check_outputs(self._identity.job, self._row_level)

    def _confirm(self, sessions: dict[str, OpenSession]) -> dict[str, OpenSession]:
        """Ask every owner once more, by a session whose answer it signs (§8, step 12).

        Nothing was sealed yet: what an owner has stopped by now has no result, for nobody.
        """
        return {server: self._reopen(session) for server, session in sessions.items()}

    def _reopen(self, session: OpenSession) -> OpenSession:
        """Open a session with an owner again, who must still agree to what was computed."""
        computed_under = self._disclosure.rules
        renewed = self._open(session.endpoint)
        if renewed.session.inputs != session.session.inputs:
            raise BindingMismatch(
                "an owner grants other data than the run has computed with",
                hint="the owner shared it anew, or changed its policy; start a new run",
            )
        if self._disclosure.rules.smallest_group != computed_under.smallest_group:
            raise PolicyRefused(
                "an owner demands larger groups than the run has computed with",
                rule="smallest_group",
                hint="the owner changed its policy; start a new run",
            )
        self._check_outputs()
        return renewed

    def _deliver(
        self, session: OpenSession, outputs: list[SealedOutput], receipt: SignedReceipt
    ) -> None:
        try:
            put_outputs(session, outputs)
            put_receipt(session, receipt)
        except TicketRefused:
            # Tickets end by their age and with a policy: the owner must still agree.
            renewed = self._reopen(session)
            put_outputs(renewed, outputs)
            put_receipt(renewed, receipt)

    def execute(self) -> None:
        """Attest, pull, align, compute, seal, and put results and receipt to every owner.

        Raises
        ------
        ClfError
            The first thing that went wrong; nothing was put before all was computed, and nothing
            sealed before every owner had confirmed.
        """
        self._report("started", {"run": self._identity.run, "job": self._identity.job.digest})
        sessions = {endpoint.server: self._open(endpoint) for endpoint in self._endpoints}
        self._check_outputs()
        secret = run_secret(self._identity, sessions)
        computed = self._compute(self._pull(sessions), secret)
        sessions = self._confirm(sessions)
        started = time.perf_counter()
        sealed = seal_outputs(
            self._identity, computed.outputs, reviewers=self._disclosure.reviewers
        )
        receipt = make_receipt(
            self._identity,
            sessions,
            sealed,
            rows=computed.rows,
            aligned_rows=computed.aligned_rows,
            disclosure=self._disclosure.report(computed.outputs, self._row_level),
        )
        for session in sessions.values():
            self._deliver(session, sealed, receipt)
        self._report(
            "delivered",
            {"outputs": list(computed.outputs), "seconds": time.perf_counter() - started},
        )
