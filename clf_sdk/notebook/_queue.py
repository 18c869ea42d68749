"""What waits for an owner's decision: a list, and one entry of it in full."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from clf_sdk._connection import Connection
from clf_sdk.errors import InvalidInput
from clf_sdk.notebook._view import View, button

if TYPE_CHECKING:
    import ipywidgets

Entry = TypeVar("Entry")


class Queue(View, Generic[Entry]):
    """Entries that an owner decides about; a view says what they are, and what can be decided.

    Attributes
    ----------
    connection
        To the owner's server.
    """

    _noun: ClassVar[str]
    _reader: ClassVar[str]
    """Who reads the reason of a decision."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.refresh()

    def __repr__(self) -> str:
        warning = ", INSECURE SIMULATION" if self.connection.mode == "simulation" else ""
        waiting, every = len(self.waiting), len(list(self._entries()))
        return (
            f"{type(self).__name__}({self.connection.name!r}, {waiting} of {every} {self._noun}s "
            f"wait{warning})"
        )

    def refresh(self) -> None:
        """Ask the server anew."""
        raise NotImplementedError

    def _entries(self) -> Iterable[Entry]:
        """Return all entries, the newest first."""
        raise NotImplementedError

    def _key(self, entry: Entry) -> str:
        """Return what an entry is found by."""
        raise NotImplementedError

    def _label(self, entry: Entry) -> str:
        """Return an entry in one line."""
        raise NotImplementedError

    def _state(self, entry: Entry) -> str:
        """Return what was decided about an entry; ``"pending"``: nothing."""
        raise NotImplementedError

    def _show_entry(self, entry: Entry | None) -> None:
        """Show an entry in full, and enable what can be decided about it."""
        raise NotImplementedError

    @property
    def waiting(self) -> list[Entry]:
        """The entries that wait for a decision."""
        return [entry for entry in self._entries() if self._state(entry) == "pending"]

    def _build_controls(self) -> ipywidgets.Widget:
        """Build what every queue has; return what stands on top."""
        import ipywidgets as widgets  # noqa: PLC0415 - text needs none

        wide = widgets.Layout(width="60em")
        self.chosen = widgets.Dropdown(description=self._noun.capitalize(), layout=wide)
        self.everything = widgets.Checkbox(description="decided ones too", value=False)
        self.details = widgets.HTML()
        self.reason = widgets.Textarea(
            description="Reason", placeholder=f"for {self._reader}", layout=wide
        )
        self.refresh_button = button("Refresh", self._act(self._reload))
        self.chosen.observe(self._show, names="value")
        self.everything.observe(self._list, names="value")
        return widgets.HBox([self.chosen, self.everything, self.refresh_button])

    def _found_choice(self) -> Entry | None:
        for entry in self._entries():
            if self._key(entry) == self.chosen.value:
                return entry
        return None

    def _choice(self) -> Entry:
        found = self._found_choice()
        if found is None:
            raise InvalidInput(f"no {self._noun} is chosen", hint="choose one above")
        return found

    def _given_reason(self) -> str:
        reason = str(self.reason.value).strip()
        if not reason:
            raise InvalidInput(
                "give a reason", hint=f"it is for {self._reader}, and for you to find later"
            )
        return reason

    def _list(self, _: Any = None) -> None:
        shown = list(self._entries()) if self.everything.value else self.waiting
        before = self.chosen.value
        self.chosen.options = [(self._label(entry), self._key(entry)) for entry in shown]
        keys = [self._key(entry) for entry in shown]
        self.chosen.value = before if before in keys else next(iter(keys), None)
        self._show()

    def _show(self, _: Any = None) -> None:
        self._show_entry(self._found_choice())

    def _reload(self) -> str:
        self.refresh()
        self._list()
        return f"{len(self.waiting)} {self._noun}s wait"
