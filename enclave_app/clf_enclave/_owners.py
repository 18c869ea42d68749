"""The owners of a run: sessions with all of them, their rules, and the delivery to them."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from clf_enclave._compute import Report
from clf_enclave._disclosure import Disclosure
from clf_enclave._memory import MemoryOfOwners
from clf_enclave._operations import Output
from clf_enclave._populations import Population
from clf_enclave._receipt import make_receipt, put_receipt
from clf_enclave._results import SealedOutput, put_outputs, seal_outputs
from clf_enclave._session import OpenSession, RunIdentity, open_session
from clf_sdk.errors import BindingMismatch, NotReady, PolicyRefused, TicketRefused
from clf_sdk.protocol import Endpoint, Rules
from clf_sdk.receipt import SignedReceipt

_MOST_ATTEMPTS = 360
_PAUSE_SECONDS = 1.0


class Owners:
    """The servers of a job's owners, as one run meets them.

    Parameters
    ----------
    identity
        The run.
    endpoints
        Where the servers are.
    disclosure
        Takes in the rules of every session.
    report
        Called at each stage.
    secrets
        Names of the secrets to ask for, by server id.
    """

    def __init__(
        self,
        identity: RunIdentity,
        endpoints: Sequence[Endpoint],
        disclosure: Disclosure,
        report: Report,
        *,
        secrets: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> None:
        self._identity = identity
        self._endpoints = {endpoint.server: endpoint for endpoint in endpoints}
        self._disclosure = disclosure
        self._report = report
        self._secrets = secrets

    def open_all(self) -> dict[str, OpenSession]:
        """Open a session with every owner; return them by server id, in the job's order."""
        return {
            server: self.open(self._endpoints[server]) for server in self._identity.job.servers()
        }

    def open(self, endpoint: Endpoint) -> OpenSession:
        """Open a session with one owner, whose rules hold from now on."""
        started = time.perf_counter()
        session = self._patiently(endpoint)
        self._disclosure.add(
            endpoint.server,
            session.session.rules,
            session.session.inputs,
            memory=session.memory,
        )
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
        secrets = self._secrets.get(endpoint.server, ())
        for _ in range(_MOST_ATTEMPTS):
            try:
                return open_session(self._identity, endpoint, secrets=secrets)
            except NotReady:  # the server has waited for a while before it said so
                self._report("waiting", {"server": endpoint.server})
                time.sleep(_PAUSE_SECONDS)
        return open_session(self._identity, endpoint, secrets=secrets)

    def check_outputs(self, row_level: Collection[str]) -> None:
        """Check that every recipient may have the outputs with rows of single people.

        Raises
        ------
        PolicyRefused
            One may not.
        """
        self._disclosure.check_outputs(self._identity.job, row_level)

    def _confirm(
        self,
        sessions: Mapping[str, OpenSession],
        row_level: Collection[str],
        computed_under: Rules,
    ) -> dict[str, OpenSession]:
        """Ask every owner once more, by a session whose answer it signs (§8, step 12).

        Nothing was sealed yet: what an owner has stopped by now has no result, for nobody.
        """
        return {
            server: self._reopen(session, row_level, computed_under)
            for server, session in sessions.items()
        }

    def _reopen(
        self, session: OpenSession, row_level: Collection[str], computed_under: Rules
    ) -> OpenSession:
        """Open a session with an owner again, who must still agree to what was computed.

        Any session that was opened meanwhile, to pull on, may have brought tighter rules.
        """
        renewed = self.open(session.endpoint)
        if renewed.session.inputs != session.session.inputs:
            raise BindingMismatch(
                "an owner grants other data than the run has computed with",
                hint="the owner shared it anew, or changed its policy; start a new run",
            )
        for rule in ("smallest_group", "dominance", "round_counts"):
            if getattr(self._disclosure.rules, rule) != getattr(computed_under, rule):
                raise PolicyRefused(
                    "an owner demands stricter rules than the run has computed with",
                    rule=rule,
                    hint="the owner changed its policy; start a new run",
                )
        self.check_outputs(row_level)
        return renewed

    def deliver(
        self,
        sessions: Mapping[str, OpenSession],
        outputs: Mapping[str, Output],
        *,
        rows: Mapping[str, int],
        aligned_rows: int | None,
        row_level: Collection[str],
        computed_under: Rules,
    ) -> None:
        """Confirm, seal the outputs to the job's recipients, and put them to every owner.

        Parameters
        ----------
        sessions
            The first one with each owner, by server id.
        outputs
            Outputs by name.
        rows, aligned_rows
            What was pulled by input, and what the outputs speak of: for the receipt.
        row_level
            Names of the outputs that hold rows of single people.
        computed_under
            The rules that held when the computation began.

        Raises
        ------
        ClfError
            An owner does not agree any more, or its server can't be reached.
        """
        sessions = self._confirm(sessions, row_level, computed_under)
        started = time.perf_counter()
        close: set[str] = set()
        if aligned_rows is not None:  # noised results are of nobody whom an owner may know of
            memory = MemoryOfOwners(self._identity, sessions, self._disclosure)
            close = memory.settle(self._populations(aligned_rows))
        reviewers = sorted({*self._disclosure.reviewers, *close})
        sealed = seal_outputs(self._identity, outputs, reviewers=reviewers)
        for output in sealed:
            envelope = output.signed.envelope
            self._disclosure.check_sizes(
                envelope.output,
                rows=0 if envelope.shape is None else envelope.shape[0],
                size_bytes=sum(envelope.objects.values()),
            )
        receipt = make_receipt(
            self._identity,
            sessions,
            sealed,
            rows=rows,
            aligned_rows=aligned_rows,
            disclosure=self._disclosure.report(outputs, row_level),
        )
        for session in sessions.values():
            self._put(session, sealed, receipt, row_level, computed_under)
        self._report(
            "delivered",
            {"outputs": list(outputs), "seconds": time.perf_counter() - started},
        )

    def _populations(self, people: int) -> Mapping[str, Population]:
        """Return of whom the outputs speak; of a program of one's own only how many is known."""
        known = self._disclosure.populations
        unknown = Population((people,))
        return {entry.name: known.get(entry.name, unknown) for entry in self._identity.job.inputs}

    def _put(
        self,
        session: OpenSession,
        outputs: Sequence[SealedOutput],
        receipt: SignedReceipt,
        row_level: Collection[str],
        computed_under: Rules,
    ) -> None:
        try:
            put_outputs(session, outputs)
            put_receipt(session, receipt)
        except TicketRefused:
            # Tickets end by their age and with a policy: the owner must still agree.
            renewed = self._reopen(session, row_level, computed_under)
            put_outputs(renewed, outputs)
            put_receipt(renewed, receipt)
