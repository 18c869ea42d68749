"""``release_review()``: the outputs that wait for an owner's look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clf_sdk._connection import Connection, only_connection
from clf_sdk._release import Release, Releases, releases
from clf_sdk.errors import InvalidInput
from clf_sdk.notebook._view import View, button

if TYPE_CHECKING:
    import ipywidgets


def _key(release: Release) -> str:
    return f"{release.run}/{release.output}"


class ReleaseReview(View):
    """The outputs that an owner reviews, from `release_review`.

    Attributes
    ----------
    connection
        To the owner's server.
    found
        The outputs, the newest first.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.found: Releases = releases(connection)

    def __repr__(self) -> str:
        warning = ", INSECURE SIMULATION" if self.connection.mode == "simulation" else ""
        return (
            f"ReleaseReview({self.connection.name!r}, {len(self.waiting)} of {len(self.found)} "
            f"outputs wait{warning})"
        )

    @property
    def waiting(self) -> list[Release]:
        """The outputs that wait for a decision."""
        return [release for release in self.found if release.status == "pending"]

    def refresh(self) -> None:
        """Ask the server anew."""
        self.found = releases(self.connection)

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

        wide = widgets.Layout(width="60em")
        self.chosen = widgets.Dropdown(description="Output", layout=wide)
        self.everything = widgets.Checkbox(description="decided ones too", value=False)
        self.details = widgets.HTML()
        self.reason = widgets.Textarea(
            description="Reason", placeholder="for the audit log", layout=wide
        )
        self.release_button = button("Release", self._act(self._release), style="success")
        self.all_button = button("Release all of the run", self._act(self._release_all))
        self.refuse_button = button("Refuse", self._act(self._refuse), style="danger")
        self.refresh_button = button("Refresh", self._act(self._reload))
        self.chosen.observe(self._show, names="value")
        self.everything.observe(self._list, names="value")
        self._list()
        return widgets.VBox(
            [
                widgets.HBox([self.chosen, self.everything, self.refresh_button]),
                self.details,
                self.reason,
                widgets.HBox([self.release_button, self.all_button, self.refuse_button]),
                self.message,
            ]
        )

    def _chosen(self) -> Release:
        for release in self.found:
            if _key(release) == self.chosen.value:
                return release
        raise InvalidInput("no output is chosen", hint="choose one above")

    def _list(self, _: Any = None) -> None:
        shown = list(self.found) if self.everything.value else self.waiting
        before = self.chosen.value
        self.chosen.options = [
            (f"{each.output} of run {each.run[:12]}… ({each.status})", _key(each)) for each in shown
        ]
        keys = [_key(each) for each in shown]
        self.chosen.value = before if before in keys else (keys[0] if keys else None)
        self._show()

    def _show(self, _: Any = None) -> None:
        release = None if self.chosen.value is None else self._chosen()
        shown = "<p>no output waits for a decision</p>"
        self.details.value = shown if release is None else release._repr_html_()
        pending = release is not None and release.status == "pending"
        self.release_button.disabled = self.all_button.disabled = not pending
        self.refuse_button.disabled = release is None or release.status == "refused"

    def _reload(self) -> str:
        self.refresh()
        self._list()
        return f"{len(self.waiting)} outputs wait"

    def _release(self) -> str:
        done = self._chosen().approve(str(self.reason.value))
        self._reload()
        return f"{done.output} is {done.status} now"

    def _release_all(self) -> str:
        run, reason = self._chosen().run, str(self.reason.value)
        done = [each.approve(reason) for each in self.waiting if each.run == run]
        self._reload()
        return f"released: {', '.join(each.output for each in done)}"

    def _refuse(self) -> str:
        reason = str(self.reason.value).strip()
        if not reason:
            raise InvalidInput("give a reason", hint="the recipients can read it, and you later")
        done = self._chosen().refuse(reason)
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
