"""The demonstration: three owners, one enclave, one joint model, on real data."""

from clf_sdk._demo._report import as_json, as_text
from clf_sdk._demo._scenario import DemoOutcome, run_demo

__all__ = ["DemoOutcome", "as_json", "as_text", "run_demo"]
