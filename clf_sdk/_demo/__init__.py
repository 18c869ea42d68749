"""The demonstration: several owners, one enclave, one joint analysis, on real data."""

from clf_sdk._demo._report import as_json, as_text
from clf_sdk._demo._run import SCENARIOS, DemoOutcome, run_demo

__all__ = ["SCENARIOS", "DemoOutcome", "as_json", "as_text", "run_demo"]
