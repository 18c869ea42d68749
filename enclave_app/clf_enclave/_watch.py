"""While a run computes, its owners may stop it (docs/protocol.md §8, between steps 11 and 12)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import TypeVar

from clf_enclave._disclosure import Disclosure
from clf_enclave._session import OpenSession, RunIdentity, open_session
from clf_enclave._transport import control_channel
from clf_sdk.errors import AccessDenied, AttestationError, ClfError, RunFailed, TicketRefused

ASK_SECONDS = 5.0
_T = TypeVar("_T")


class Watch:
    """Asks the owners again and again whether a run may go on.

    Parameters
    ----------
    identity
        The run.
    disclosure
        Takes in the rules of every session.
    """

    def __init__(self, identity: RunIdentity, disclosure: Disclosure) -> None:
        self._identity = identity
        self._disclosure = disclosure
        self._sessions: dict[str, OpenSession] = {}
        self._worker: threading.Thread | None = None
        self._given_up = threading.Event()

    def during(self, sessions: Iterable[OpenSession], work: Callable[[], _T]) -> _T:
        """Do work in a thread of its own, and give it up when an owner stops the run.

        A library that computes can't be interrupted: what was given up ends unheard, at the latest
        with the process, and `settle` waits for it.

        Parameters
        ----------
        sessions
            Those that the run has opened.
        work
            What it computes.

        Raises
        ------
        AccessDenied, AttestationError
            An owner stopped the run.
        BaseException
            What the work raised.
        """
        self._sessions = {session.endpoint.server: session for session in sessions}
        done: Future[_T] = Future()

        def carry_out() -> None:
            try:
                done.set_result(work())
            except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
                done.set_exception(error)

        self._worker = threading.Thread(target=carry_out, name="clf-compute", daemon=True)
        self._worker.start()
        while True:
            try:
                return done.result(ASK_SECONDS)
            except TimeoutError:
                if done.done():
                    return done.result()  # the work's own, perhaps a TimeoutError
            try:
                for server in self._sessions:
                    self._ask(server)
            except ClfError:
                self._given_up.set()
                raise

    def check(self) -> None:
        """End work that was given up, at a stage of its own.

        Raises
        ------
        RunFailed
            It was; nobody hears of this.
        """
        if self._given_up.is_set():
            raise RunFailed("an owner stopped the run")

    def settle(self) -> None:
        """Wait until given up work has ended."""
        if self._worker is not None:
            self._worker.join()

    def _ask(self, server: str) -> None:
        session = self._sessions[server]
        headers = {"Authorization": f"CLF-Ticket {session.access.results.ticket}"}
        path = f"/v1/sessions/{session.session.session}"
        try:
            with control_channel(session.endpoint) as channel:
                channel.call("GET", path, b"", headers)
        except TicketRefused:
            self._renew(session)
        except AccessDenied:
            raise
        except ClfError:
            return  # it does not answer; before anything is sealed it must (step 12)

    def _renew(self, session: OpenSession) -> None:
        """Open a session anew; whether its inputs are still the same is asked in step 12."""
        try:
            renewed = open_session(self._identity, session.endpoint)
        except (AccessDenied, AttestationError):
            raise
        except ClfError:
            return  # as above
        self._disclosure.add(session.endpoint.server, renewed.session.rules)
        self._sessions[session.endpoint.server] = renewed
