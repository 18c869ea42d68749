from __future__ import annotations

import builtins
import re

import pytest

from clf_sdk import errors
from clf_sdk.errors import BY_CODE, ClfError, PolicyRefused, RunFailed

_LINE = re.compile(r"^(?P<indent>[│├└─ ]*)(?P<name>[A-Z]\w+)(?: \((?P<built_in>\w+)\))? +\S")


def _documented() -> dict[str, tuple[str, str | None]]:
    """Parent and built-in base of each error in the docstring's tree."""
    found: dict[str, tuple[str, str | None]] = {}
    path = ["ClfError"]
    for line in (errors.__doc__ or "").splitlines():
        match = _LINE.match(line.removeprefix("    "))
        if match is None or "──" not in match["indent"]:
            continue
        depth = len(match["indent"]) // 4
        found[match["name"]] = (path[depth - 1], match["built_in"])
        path[depth:] = [match["name"]]
    return found


def test_documented_tree_is_the_real_one() -> None:
    real = {kind.__name__: kind for kind in BY_CODE.values() if kind is not ClfError}
    documented = _documented()
    assert set(documented) == set(real)
    for name, (parent, built_in) in documented.items():
        bases = real[name].__bases__
        assert bases[0].__name__ == parent
        if built_in is not None:
            assert getattr(builtins, built_in) in bases


def test_codes_are_unique() -> None:
    classes = {
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, ClfError)
    }
    assert len({kind.code for kind in classes}) == len(classes) == len(BY_CODE)


@pytest.mark.parametrize(
    "kind", [kind for kind in BY_CODE.values() if kind is not ClfError], ids=lambda kind: kind.code
)
def test_each_error_is_also_the_built_in_that_a_caller_would_catch(kind: type[ClfError]) -> None:
    usual = (ValueError, PermissionError, LookupError, RuntimeError, OSError, TimeoutError)
    assert issubclass(kind, usual)
    assert kind.__doc__


def test_message_hint_and_request_id_are_shown() -> None:
    error = RunFailed("it ended", hint="run again", request_id="abc")
    assert str(error) == "it ended [request abc]\nHint: run again"
    assert (error.message, error.hint, error.request_id) == ("it ended", "run again", "abc")
    assert str(RunFailed("it ended")) == "it ended"
    assert PolicyRefused("no", rule="columns").rule == "columns"
