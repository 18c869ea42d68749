"""Operations: one file each, with a typed parameter object and a function (registered by name)."""

from clf_enclave._operations._outputs import Output
from clf_enclave._operations._registry import OPERATIONS, row_level_outputs, run_operation

__all__ = ["OPERATIONS", "Output", "row_level_outputs", "run_operation"]
