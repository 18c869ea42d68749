"""What all views have in common: a widget, and the same as text."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from clf_sdk._cards import text as escaped
from clf_sdk._error_text import explain_error
from clf_sdk._not_picklable import NotPicklable
from clf_sdk._printable import printable
from clf_sdk.errors import ClfError, ConfigurationError

if TYPE_CHECKING:
    import ipywidgets

_ERROR = "border-left:4px solid #a30021;padding:2px 10px;margin:4px 0"
_DONE = "border-left:4px solid #1a7f37;padding:2px 10px;margin:4px 0"
_MOST_CHARACTERS = 2000


class View(NotPicklable):
    """A thing to look at and to act on."""

    _not_pickled: ClassVar[str] = "it is a view; make another one"
    _title: ClassVar[str]

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: print() shows it as text>"

    def __str__(self) -> str:
        return self.text()

    def text(self) -> str:
        """Return what the widget shows, as text."""
        return "\n".join(printable(line) for line in self._lines())

    def _lines(self) -> list[str]:
        raise NotImplementedError

    def _build(self) -> ipywidgets.Widget:
        raise NotImplementedError

    @cached_property
    def widget(self) -> ipywidgets.Widget:
        """The widget.

        Raises
        ------
        ConfigurationError
            ipywidgets is not installed.
        """
        if not _has_widgets():
            raise ConfigurationError(
                "widgets need ipywidgets",
                hint="pip install 'clf-sdk[notebook]', or print() this view",
            )
        return self._build()

    @cached_property
    def message(self) -> ipywidgets.HTML:
        """Where the widget says what became of the last action."""
        import ipywidgets  # noqa: PLC0415 - text needs none

        return ipywidgets.HTML()

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        shown = self.text()
        bundle: dict[str, Any] = {"text/plain": shown}
        # What is kept in a saved notebook, and shown where no kernel runs.
        bundle["text/html"] = f"<pre>{escaped(shown, most=100_000)}</pre>".replace("\\n", "\n")
        if _has_widgets():
            found = self.widget._repr_mimebundle_(**options)
            bundle = {**(found or {}), **bundle}
        return bundle

    def _act(self, action: Callable[[], str]) -> Callable[[Any], None]:
        """Return a callback that acts, and says in the widget what became of it."""

        def act(_: Any) -> None:
            self._attempt(action)

        return act

    def _attempt(self, action: Callable[[], str]) -> None:
        try:
            said = action()
        except ClfError as error:
            self.message.value = error_html(error)
        else:
            style, shown = _DONE, escaped(said, most=_MOST_CHARACTERS)
            self.message.value = f'<div role="status" style="{style}">{shown}</div>'


def error_html(error: ClfError) -> str:
    """Return an error as HTML: what happened, why, what to do, request id."""
    title = f"{type(error).__name__}: {error.message}"
    lines = "".join(
        f"<div><strong>{escaped(label)}:</strong> {escaped(said, most=_MOST_CHARACTERS)}</div>"
        for label, said in explain_error(error)
    )
    head = f"<strong>{escaped(title, most=_MOST_CHARACTERS)}</strong>"
    return f'<div role="alert" style="{_ERROR}">{head}{lines}</div>'


def button(label: str, action: Callable[[Any], None], *, style: str = "") -> ipywidgets.Button:
    """Return a button."""
    import ipywidgets  # noqa: PLC0415 - text needs none

    wide = ipywidgets.Layout(width="auto", flex="0 0 auto")  # wide enough for its label
    made = ipywidgets.Button(description=label, button_style=style, layout=wide)
    made.on_click(action)
    return made


def _has_widgets() -> bool:
    return importlib.util.find_spec("ipywidgets") is not None
