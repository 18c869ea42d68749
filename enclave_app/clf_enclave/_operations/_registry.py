"""Which operations there are. An operation is one module of this package."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import pyarrow as pa

from clf_sdk.errors import InvalidJob

Operate: TypeAlias = Callable[[pa.Table, Mapping[str, Any]], dict[str, pa.Table]]
"""``operate(aligned table, parameters)`` returns the outputs by name."""

OPERATIONS: Mapping[str, str] = {
    "glm": "_glm",
}
"""Module of each operation; it is imported when a job asks for it."""


def run_operation(name: str, table: pa.Table, parameters: Mapping[str, Any]) -> dict[str, pa.Table]:
    """Run an operation on the aligned table.

    Raises
    ------
    InvalidJob
        There is no such operation, or its parameters do not fit the table.
    """
    if name not in OPERATIONS:
        known = ", ".join(sorted(OPERATIONS))
        raise InvalidJob(f"there is no operation {name!r}", hint=f"this program knows: {known}")
    module = importlib.import_module(f"clf_enclave._operations.{OPERATIONS[name]}")
    operate: Operate = module.operate
    return operate(table, parameters)
