"""Find what computes an operation: one module of this package, named after it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import pyarrow as pa

from clf_enclave._data import AlignedData
from clf_enclave._disclosure import Disclosure
from clf_enclave._operations._context import Context
from clf_enclave._operations._outputs import Output
from clf_sdk.operations import Parameters, parameters_class

Run: TypeAlias = Callable[[Context[Any]], dict[str, Output]]
"""``run(context)`` returns the outputs by name."""


def read_parameters(name: str, parameters: Mapping[str, Any]) -> Parameters:
    """Return the parameter object of an operation.

    Raises
    ------
    InvalidJob
        There is no such operation, or it has other parameters.
    """
    return parameters_class(name).parse(dict(parameters))


def run_operation(
    parameters: Parameters,
    data: AlignedData,
    disclosure: Disclosure,
    *,
    secret: bytes,
    beside: Mapping[str, pa.Table] | None = None,
    rehearsal: bool = False,
) -> dict[str, Output]:
    """Run an operation on the aligned table; see `Context`.

    Raises
    ------
    InvalidJob
        The parameters do not fit the table.
    PolicyRefused
        A result would disclose more than all owners allow.
    """
    module = importlib.import_module(f"clf_enclave._operations._{parameters.operation}")
    run: Run = module.run
    return run(Context(parameters, data, disclosure, secret, beside or {}, rehearsal))
