"""The enclave app's whole run, and what it is compared with, in a process: ``SIMULATION``."""

from __future__ import annotations

import secrets
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm

from benchmarks._process import serve_lines
from clf_enclave._program import load_request, make_provider
from clf_enclave._run import EnclaveRun

KEY = "person_id"
OUTCOME = "outcome"
_TOLERANCE = 1e-12  # as the operation has it


def main() -> None:
    """Run a request, or fit pooled frames, each time it is asked to."""
    provider = make_provider(Path(sys.argv[1]))
    frames: list[pd.DataFrame] = []

    def run(asked: dict[str, Any]) -> dict[str, Any]:
        request = load_request(Path(asked["request"]))
        request = request.model_copy(update={"run": secrets.token_hex(16)})
        stages: dict[str, float] = {}

        def report(event: str, details: dict[str, Any]) -> None:
            stages[event] = stages.get(event, 0.0) + details.get("seconds", 0.0)

        started = time.perf_counter()
        EnclaveRun(request, provider, report).execute()
        return {"seconds": time.perf_counter() - started, "stages": stages}

    def pooled(asked: dict[str, Any]) -> dict[str, Any]:
        if not frames:
            frames.extend(pd.read_parquet(path) for path in asked["frames"])
        started = time.perf_counter()
        merged = frames[0]
        for frame in frames[1:]:
            merged = merged.merge(frame, on=KEY)
        predictors = merged.drop(columns=[KEY, OUTCOME])
        design = sm.add_constant(predictors.to_numpy(np.float64))
        fitted = sm.GLM(merged[OUTCOME].to_numpy(), design, family=sm.families.Binomial()).fit(
            tol=_TOLERANCE, tol_criterion="deviance"
        )
        return {
            "seconds": time.perf_counter() - started,
            "coefficients": [float(each) for each in fitted.params],
        }

    serve_lines({}, lambda asked: pooled(asked) if "frames" in asked else run(asked))


if __name__ == "__main__":
    main()
