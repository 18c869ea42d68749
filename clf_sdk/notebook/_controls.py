"""Controls for the parameters of an operation, by their types."""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from clf_sdk.operations import Columns, Parameters
from clf_sdk.protocol import ColumnName

if TYPE_CHECKING:
    import ipywidgets


def controls_of(kind: type[Parameters], columns: Sequence[str]) -> dict[str, ipywidgets.DOMWidget]:
    """Return a control for each parameter that can be clicked, by the parameter's name.

    Parameters
    ----------
    kind
        Class of an operation's parameters.
    columns
        Columns to choose from.
    """
    hints = typing.get_type_hints(kind, include_extras=True)
    found = {}
    for name, field in kind.model_fields.items():
        default = None if field.is_required() else field.default
        optional = not field.is_required() and default is None
        control = _control(name, _without_none(hints[name]), default, columns, optional=optional)
        if control is not None:
            found[name] = control
    return found


def _without_none(hint: Any) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(each for each in typing.get_args(hint) if each is not type(None))
    return hint


def _control(
    name: str, hint: Any, default: Any, columns: Sequence[str], *, optional: bool
) -> ipywidgets.DOMWidget | None:
    """Return a control for a parameter; None where only code can say it."""
    import ipywidgets as widgets  # noqa: PLC0415 - text needs none

    plain = typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint
    label = {"description": name, "style": {"description_width": "initial"}}
    made: ipywidgets.DOMWidget | None = None
    if hint == ColumnName:
        made = widgets.Dropdown(options=["", *columns], value="", **label)
    elif hint == Columns:
        made = widgets.SelectMultiple(options=list(columns), **label)
    elif typing.get_origin(plain) is Literal:
        choices = list(typing.get_args(plain))
        if optional:
            choices.insert(0, "")
        made = widgets.Dropdown(options=choices, value=default or choices[0], **label)
    elif plain is bool:
        made = widgets.Checkbox(value=bool(default), **label)
    elif plain in (int, float) and default is not None:
        number = widgets.IntText if plain is int else widgets.FloatText
        made = number(value=default, **label)
    elif plain is str:
        made = widgets.Text(value=default or "", **label)
    return made
