"""Run a job's function with nothing but data in its reach (docs/operations.md, ``python``)."""

from clf_enclave._sandbox._call import Limits, call

__all__ = ["Limits", "call"]
