"""Operations: one file each, named like its parameters in `clf_sdk.operations`."""

from clf_enclave._operations._context import Context
from clf_enclave._operations._outputs import Output
from clf_enclave._operations._registry import read_parameters, run_operation

__all__ = ["Context", "Output", "read_parameters", "run_operation"]
