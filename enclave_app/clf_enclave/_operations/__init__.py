"""Operations: one file each, with a typed parameter object and a function (registered by name)."""

from clf_enclave._operations._registry import OPERATIONS, run_operation

__all__ = ["OPERATIONS", "run_operation"]
