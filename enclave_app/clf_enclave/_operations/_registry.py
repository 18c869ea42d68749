"""Which operations there are. An operation is one module of this package."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, TypeAlias

import pyarrow as pa

from clf_enclave._disclosure import Disclosure
from clf_enclave._operations._outputs import Output
from clf_sdk.errors import InvalidJob

Operate: TypeAlias = Callable[[pa.Table, Mapping[str, Any], Disclosure], dict[str, Output]]
"""``operate(aligned table, parameters, disclosure)`` returns the outputs by name."""

OPERATIONS: Mapping[str, str] = {
    "glm": "_glm",
}
"""Module of each operation; it is imported when a job asks for it."""


def _module(name: str) -> ModuleType:
    if name not in OPERATIONS:
        known = ", ".join(sorted(OPERATIONS))
        raise InvalidJob(f"there is no operation {name!r}", hint=f"this program knows: {known}")
    return importlib.import_module(f"clf_enclave._operations.{OPERATIONS[name]}")


def row_level_outputs(name: str) -> frozenset[str]:
    """Return the names of an operation's outputs that hold rows of single people.

    Raises
    ------
    InvalidJob
        There is no such operation.
    """
    outputs: frozenset[str] = _module(name).ROW_LEVEL
    return outputs


def run_operation(
    name: str, table: pa.Table, parameters: Mapping[str, Any], disclosure: Disclosure
) -> dict[str, Output]:
    """Run an operation on the aligned table.

    Raises
    ------
    InvalidJob
        There is no such operation, or its parameters do not fit the table.
    PolicyRefused
        A result would disclose more than all owners allow.
    """
    operate: Operate = _module(name).operate
    return operate(table, parameters, disclosure)
