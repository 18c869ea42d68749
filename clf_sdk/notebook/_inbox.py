"""``inbox()``: the jobs that wait for an owner."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, ClassVar

from clf_sdk._connection import Connection, only_connection
from clf_sdk._requests import JobRequest, JobRequests, requests
from clf_sdk.errors import InvalidInput, NotFound
from clf_sdk.notebook._queue import Queue
from clf_sdk.notebook._view import button
from clf_sdk.policy import Policy

if TYPE_CHECKING:
    import ipywidgets

    from clf_sdk.policy._explanation import Explanation

_MOST_IN_TEXT = 20


class Inbox(Queue[JobRequest]):
    """The jobs that analysts submitted to an owner, from `inbox`.

    Attributes
    ----------
    connection
        To the owner's server.
    found
        The jobs, the latest first.
    """

    _noun: ClassVar[str] = "job"
    _reader: ClassVar[str] = "the analyst to read"
    found: JobRequests

    def refresh(self) -> None:
        """Ask the server anew."""
        self.found = requests(self.connection)

    def _entries(self) -> JobRequests:
        return self.found

    def _key(self, entry: JobRequest) -> str:
        return entry.digest

    def _label(self, entry: JobRequest) -> str:
        return repr(entry)[len("JobRequest(") : -1]

    def _state(self, entry: JobRequest) -> str:
        return entry.state

    def explanations(self, request: JobRequest) -> list[Explanation]:
        """Say for each of the owner's tables that a job names what each rule of its policy says."""
        job = request.job
        found = []
        for entry in job.inputs:
            if entry.server not in self.connection.known_as:
                continue
            try:
                table = self.connection.table(entry.table)
            except NotFound:
                continue  # it was dropped since; the job's own card says which one it names
            if table.description.policy is not None:
                policy = Policy.from_json(table.description.policy)
                found.append(policy.explain(job, table=table))
        return found

    def question(self, request: JobRequest, text: str) -> str:
        """Return a message that asks the analyst about a job, to be sent over any channel.

        Raises
        ------
        InvalidInput
            The question is empty.
        """
        if not text.strip():
            raise InvalidInput("the question is empty", hint="write what you want to know")
        return (
            f"About the job {request.status.name!r} with the digest {request.digest}, "
            f"which you submitted to {self.connection.name!r}:\n{text.strip()}"
        )

    def _lines(self) -> list[str]:
        lines = [repr(self)]
        for request in self.waiting[:_MOST_IN_TEXT]:
            lines += ["", *request.show().split("\n")]
            for explanation in self.explanations(request):
                lines += str(explanation).split("\n")
            short = request.digest[:12]
            lines.append(f"  decide: inbox.found[{short!r}].approve(runs=1), or .refuse(reason)")
        if not self.waiting:
            lines.append("nothing waits for a decision")
        return lines

    def _build(self) -> ipywidgets.Widget:
        import ipywidgets as widgets  # noqa: PLC0415 - text needs none

        top = self._build_controls()
        self.rules = widgets.HTML()
        self.runs = widgets.BoundedIntText(description="Runs", value=1, min=1, max=1_000_000)
        in_a_month = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=30)
        self.until = widgets.DatePicker(description="Until", value=in_a_month)
        self.approve_button = button("Approve", self._act(self._approve), style="success")
        self.refuse_button = button("Refuse", self._act(self._refuse), style="danger")
        self.revoke_button = button("Revoke", self._act(self._revoke), style="danger")
        self.ask_button = button("Ask", self._act(self._ask))
        self._list()
        deciding = [self.approve_button, self.refuse_button, self.revoke_button, self.ask_button]
        return widgets.VBox(
            [
                top,
                self.details,
                self.rules,
                widgets.HBox([self.runs, self.until]),
                self.reason,
                widgets.HBox(deciding),
                self.message,
            ]
        )

    def _show_entry(self, entry: JobRequest | None) -> None:
        if entry is None:
            self.details.value, self.rules.value = "<p>nothing waits for a decision</p>", ""
        else:
            self.details.value = entry._repr_html_()
            said = [explanation._repr_html_() for explanation in self.explanations(entry)]
            self.rules.value = "".join(said)
        state = None if entry is None else entry.state
        self.approve_button.disabled = state not in ("pending", "approved")
        self.refuse_button.disabled = state != "pending"
        self.revoke_button.disabled = state != "approved"
        self.ask_button.disabled = state is None

    def _decided(self, request: JobRequest) -> str:
        self._reload()
        return f"{request.status.name} ({request.digest[:12]}…) is {request.state} now"

    def _approve(self) -> str:
        if self.until.value is None:
            raise InvalidInput("an approval needs a date", hint="choose the last day")
        end = dt.datetime.combine(self.until.value, dt.time(), dt.UTC) + dt.timedelta(days=1)
        return self._decided(self._choice().approve(runs=self.runs.value, until=end))

    def _refuse(self) -> str:
        return self._decided(self._choice().refuse(self._given_reason()))

    def _revoke(self) -> str:
        return self._decided(self._choice().revoke(self._given_reason()))

    def _ask(self) -> str:
        return "Copy and send: " + self.question(self._choice(), str(self.reason.value))


def inbox(connection: Connection | None = None) -> Inbox:
    """Show the jobs that wait for an owner, in plain words, to be approved or refused.

    Parameters
    ----------
    connection
        To the owner's server, with the owner's profile; by default the only connection there is.

    Returns
    -------
    Inbox
        A widget in a notebook; ``print()`` shows it as text.
    """
    return Inbox(only_connection() if connection is None else connection)
