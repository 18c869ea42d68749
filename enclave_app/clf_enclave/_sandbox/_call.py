"""Call a function whose source was checked, under limits, and say of its end no more than needed.

1. The source is checked node by node against an allow-list (`check_source`).
2. It is compiled with a few builtin functions, and with names of modules in place of modules.
3. While it runs, an audit hook refuses files, sockets, processes, imports, ctypes and frames.
4. Time and memory are limited: each loop and each call looks at the clock.
5. Of an error nothing is told but that there was one: its text, its type and its line can hold
   values.
"""

from __future__ import annotations

import ast
import contextlib
import gc
import warnings
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import numpy as np

from clf_enclave._sandbox._guarded import TICK, guarded
from clf_enclave._sandbox._limits import Stopped, TimeLimit, memory_limit, nothing_but_computing
from clf_enclave._sandbox._modules import builtin_functions, imports, load
from clf_sdk.errors import InvalidJob
from clf_sdk.operations._python_source import check_source, compiled


@dataclass(frozen=True)
class Limits:
    """What a call may take.

    Attributes
    ----------
    time_seconds, memory_bytes
        How long, and how much beside what the process has.
    rehearsal
        Whether this is a dry run on mock data, in a process of the analyst's: then errors are
        told in full, and neither is the process ended nor its memory limited.
    """

    time_seconds: float
    memory_bytes: int
    rehearsal: bool = False


def call(source: str, function: str, arguments: list[Any], limits: Limits) -> Any:
    """Call a function of some source.

    Parameters
    ----------
    source, function
        The source, and the name of the function.
    arguments
        What it is called with.
    limits
        What it may take.

    Raises
    ------
    InvalidJob
        The source is not allowed, a limit was reached, or the function failed.
    """
    tree = check_source(source, function)  # 1
    names: dict[str, Any] = {}
    for statement in ast.walk(tree):
        if isinstance(statement, ast.Import | ast.ImportFrom):
            names |= imports(statement)
    names["__builtins__"] = builtin_functions()  # 2
    define = FunctionType(compiled(guarded(tree)), names)
    load()
    gc.collect()  # what others left behind is not closed while the hook watches
    try:
        return _limited(define, function, arguments, limits)
    except Stopped as stopped:
        raise InvalidJob(f"python: {stopped}") from None
    except MemoryError:
        raise InvalidJob(
            "python: the function needs more memory than the job allows",
            hint="set a larger memory_limit_bytes",
        ) from None
    except Exception as error:
        if limits.rehearsal:
            raise InvalidJob(
                f"python: the function failed on mock data: {type(error).__name__}: {error}"
            ) from error
        raise InvalidJob(  # 5
            "python: the function failed",
            hint="try it on mock data, where errors can be seen: clf.dry_run(job)",
        ) from None


def _limited(define: FunctionType, function: str, arguments: list[Any], limits: Limits) -> Any:
    clock = TimeLimit(limits.time_seconds, end_process=not limits.rehearsal)
    define.__globals__[TICK] = clock.tick
    memory = contextlib.nullcontext() if limits.rehearsal else memory_limit(limits.memory_bytes)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # a warning would be printed, with a line of the source
        with memory, clock, nothing_but_computing():  # 3, 4
            define()  # the source: its functions get their names
            return define.__globals__[function](*arguments)
