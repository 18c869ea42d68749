"""``audit_view()``: what a server decided, as its log proves it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from clf_sdk._cards import banner, grid
from clf_sdk._connection import Connection, only_connection
from clf_sdk._job_words import moment
from clf_sdk.audit import RemoteLog, VerifiedLog
from clf_sdk.notebook._view import View, button

if TYPE_CHECKING:
    import ipywidgets

    from clf_sdk.protocol import AuditEntry

_EVERYTHING = "everything"
_MOST_IN_TEXT = 100


class AuditView(View):
    """The newest entries of a server's audit log, verified, from `audit_view`.

    Attributes
    ----------
    connection
        To the owner's server.
    entries
        The entries, the oldest first.
    """

    def __init__(self, connection: Connection, *, last: int) -> None:
        self.connection = connection
        self._last = last
        self.entries: list[AuditEntry] = []
        self.refresh()

    def __repr__(self) -> str:
        warning = ", INSECURE SIMULATION" if self.connection.mode == "simulation" else ""
        return f"AuditView({self.connection.name!r}, {len(self.entries)} entries{warning})"

    def _log(self) -> RemoteLog:
        connection = self.connection
        return RemoteLog(connection.http, connection.server, connection.profile.successions)

    def refresh(self) -> None:
        """Ask the server anew, and verify what it says."""
        self.entries = self._log().tail(self._last)

    def find(self, *, event: str | None = None, text: str = "") -> list[AuditEntry]:
        """Return the entries of an event that hold a text, the newest first."""
        return [
            entry
            for entry in reversed(self.entries)
            if event in (None, entry.event) and text.lower() in _details(entry).lower()
        ]

    def verify(self) -> VerifiedLog:
        """Verify the whole log, from its first entry on.

        Raises
        ------
        AuditError
            It was altered, or rolled back.
        """
        return self._log().verify()

    def _lines(self) -> list[str]:
        shown = self.find()[:_MOST_IN_TEXT]
        return [
            repr(self),
            *(
                f"  {entry.index:>6}  {moment(entry.time)}  {entry.event:<20}  {_details(entry)}"
                for entry in shown
            ),
        ]

    def _build(self) -> ipywidgets.Widget:
        import ipywidgets as widgets  # noqa: PLC0415 - text needs none

        events = sorted({entry.event for entry in self.entries})
        self.event = widgets.Dropdown(description="Event", options=[_EVERYTHING, *events])
        self.search = widgets.Text(description="Search", continuous_update=False)
        self.listed = widgets.HTML()
        self.verify_button = button("Verify the whole log", self._act(self._verify))
        self.refresh_button = button("Refresh", self._act(self._reload))
        self.event.observe(self._show, names="value")
        self.search.observe(self._show, names="value")
        self._show()
        controls = [self.event, self.search, self.refresh_button, self.verify_button]
        return widgets.VBox([widgets.HBox(controls), self.message, self.listed])

    def _show(self, _: Any = None) -> None:
        event = None if self.event.value == _EVERYTHING else str(self.event.value)
        found = self.find(event=event, text=str(self.search.value))
        rows = [
            (
                str(entry.index),
                moment(entry.time),
                entry.event,
                _details(entry),
                entry.request or "",
            )
            for entry in found
        ]
        warning = banner() if self.connection.mode == "simulation" else ""
        self.listed.value = warning + grid(["#", "time", "event", "details", "request"], rows)

    def _reload(self) -> str:
        self.refresh()
        self._show()
        return f"the newest {len(self.entries)} entries hold"

    def _verify(self) -> str:
        log = self.verify()
        return f"all {log.checkpoint.size:,} entries lead to the root that the server signed"


def _details(entry: AuditEntry) -> str:
    return json.dumps(entry.details, ensure_ascii=False)


def audit_view(connection: Connection | None = None, *, last: int = 200) -> AuditView:
    """Show the newest decisions of an owner's server, as its audit log proves them.

    Parameters
    ----------
    connection
        To the owner's server, with the owner's profile; by default the only connection there is.
    last
        How many entries, at most.

    Raises
    ------
    AuditError
        The log was altered, or rolled back.
    """
    return AuditView(only_connection() if connection is None else connection, last=last)
