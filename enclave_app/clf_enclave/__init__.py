"""The measured program: pulls sealed tables into the enclave, computes, seals the result.

For programs of one's own: `execute`, `OpenRun`, `SealedFile`, `program_measurement`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clf_enclave._file import SealedFile
    from clf_enclave._own import OpenRun, execute
    from clf_enclave._program import program_measurement

__all__ = ["OpenRun", "SealedFile", "execute", "program_measurement"]

_HOME = {
    "OpenRun": "_own",
    "SealedFile": "_file",
    "execute": "_own",
    "program_measurement": "_program",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
