"""``release_review()``: the outputs that wait for an owner's look."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from clf_sdk._connection import Connection, only_connection
from clf_sdk._release import Release, Releases, releases
from clf_sdk.notebook._queue import Queue
from clf_sdk.notebook._view import button

if TYPE_CHECKING:
    import ipywidgets


class ReleaseReview(Queue[Release]):
    """The outputs that an owner reviews, from `release_review`.

    Attributes
    ----------
    connection
        To the owner's server.
    found
        The outputs, the newest first.
    """

    _noun: ClassVar[str] = "output"
    _reader: ClassVar[str] = "the audit log"
    found: Releases

    def refresh(self) -> None:
        """Ask the server anew."""
        self.found = releases(self.connection)

    def _entries(self) -> Releases:
        return self.found

    def _key(self, entry: Release) -> str:
        return f"{entry.run}/{entry.output}"

    def _label(self, entry: Release) -> str:
        return f"{entry.output} of run {entry.run[:12]}… ({entry.status})"

    def _state(self, entry: Release) -> str:
        return entry.status

    def _lines(self) -> list[str]:
        lines = [repr(self)]
        for release in self.waiting:
            lines += ["", repr(release), *(f"  {line}" for line in release.report_lines())]
            named = f"{release.job[:12]!r}, {release.output!r}, run={release.run[:12]!r}"
            lines.append(f"  decide: review.found.of({named}).approve(), or .refuse(reason)")
        if not self.waiting:
            lines.append("no output waits for a decision")
        return lines

    def _build(self) -> ipywidgets.Widget:
        import ipywidgets as widgets  # noqa: PLC0415 - text needs none

        top = self._build_controls()
        self.release_button = button("Release", self._act(self._release), style="success")
        self.all_button = button("Release all of the run", self._act(self._release_all))
        self.refuse_button = button("Refuse", self._act(self._refuse), style="danger")
        self._list()
        deciding = [self.release_button, self.all_button, self.refuse_button]
        return widgets.VBox([top, self.details, self.reason, widgets.HBox(deciding), self.message])

    def _show_entry(self, entry: Release | None) -> None:
        shown = "<p>no output waits for a decision</p>"
        self.details.value = shown if entry is None else entry._repr_html_()
        pending = entry is not None and entry.status == "pending"
        self.release_button.disabled = self.all_button.disabled = not pending
        self.refuse_button.disabled = entry is None or entry.status == "refused"

    def _release(self) -> str:
        done = self._choice().approve(str(self.reason.value))
        self._reload()
        return f"{done.output} is {done.status} now"

    def _release_all(self) -> str:
        run, reason = self._choice().run, str(self.reason.value)
        done = [each.approve(reason) for each in self.waiting if each.run == run]
        self._reload()
        return f"released: {', '.join(each.output for each in done)}"

    def _refuse(self) -> str:
        done = self._choice().refuse(self._given_reason())
        self._reload()
        return f"{done.output} is {done.status} now"


def release_review(connection: Connection | None = None) -> ReleaseReview:
    """Show the outputs that wait for an owner's look, to be released or refused.

    Parameters
    ----------
    connection
        To the owner's server, with the owner's profile; by default the only connection there is.

    Returns
    -------
    ReleaseReview
        A widget in a notebook; ``print()`` shows it as text.
    """
    return ReleaseReview(only_connection() if connection is None else connection)
