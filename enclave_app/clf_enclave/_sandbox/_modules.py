"""What a function finds where it imports: names of modules, never the modules."""

from __future__ import annotations

import ast
import builtins
import importlib
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.acero

from clf_sdk.operations._python_source import BUILTINS, names_of


def load() -> None:
    """Load what pyarrow loads when first used: nothing is imported while a function runs."""
    pa.array([pa.scalar(0, pa.timestamp("us", "UTC")).as_py()])
    pa.table({"x": [1.0]}).group_by("x").aggregate([("x", "mean")]).to_pydict()


def module(name: str) -> SimpleNamespace:
    """Return the allowed part of a module.

    Parameters
    ----------
    name
        Of a module that the source check lets through.
    """
    found = importlib.import_module(name)
    allowed = names_of(name) or frozenset()
    parts = {}
    for each in allowed:
        inner = f"{name}.{each}"
        parts[each] = module(inner) if names_of(inner) is not None else getattr(found, each, None)
    return SimpleNamespace(**parts)


def imports(statement: ast.Import | ast.ImportFrom) -> dict[str, Any]:
    """Return what an import statement binds."""
    if isinstance(statement, ast.Import):
        return {each.asname or each.name: module(each.name) for each in statement.names}
    source = module(str(statement.module))
    return {each.asname or each.name: getattr(source, each.name) for each in statement.names}


def builtin_functions() -> dict[str, Any]:
    """Return the allowed builtin functions, and what libraries import by.

    A library in C imports by the function that its caller has. Source can't name it, and a module
    that is not loaded yet is refused by the audit hook.
    """
    return {name: getattr(builtins, name) for name in [*BUILTINS, "__import__"]}
