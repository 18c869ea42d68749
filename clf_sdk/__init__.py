"""CLF: one analysis over the joined data of several owners who show it to nobody.

Use it as ``import clf_sdk as clf``. Everything public stands in ``__all__``; names are loaded when
they are first used, so that the import itself is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clf_sdk import align, prepare, private, testing
    from clf_sdk._connection import Connection, connect
    from clf_sdk._dry_run import DryRun, dry_run
    from clf_sdk._fetch import fetch
    from clf_sdk._identity import Identity
    from clf_sdk._job import Job
    from clf_sdk._public_identity import PublicIdentity
    from clf_sdk._release import Release, Releases, releases
    from clf_sdk._requests import JobRequest, JobRequests, requests
    from clf_sdk._result import Result
    from clf_sdk._run import Run, run
    from clf_sdk._share import share
    from clf_sdk._submit import Submission, submit
    from clf_sdk._table import SharedTable
    from clf_sdk._versions import show_versions
    from clf_sdk.attestation import EnclavePolicy, TrustAnchor
    from clf_sdk.errors import ClfError
    from clf_sdk.notebook import (
        audit_view,
        catalogue,
        inbox,
        job_builder,
        monitor,
        policy_editor,
        release_review,
    )
    from clf_sdk.operations import (
        GLM,
        PCA,
        Aggregate,
        Describe,
        GradientBoosting,
        KMeans,
        LogisticRegression,
        PrivateStatistics,
        Python,
        Score,
        Survival,
    )
    from clf_sdk.policy import Policy
    from clf_sdk.receipt import VerifiedReceipt, verify

__all__ = [
    "GLM",
    "PCA",
    "Aggregate",
    "ClfError",
    "Connection",
    "Describe",
    "DryRun",
    "EnclavePolicy",
    "GradientBoosting",
    "Identity",
    "Job",
    "JobRequest",
    "JobRequests",
    "KMeans",
    "LogisticRegression",
    "Policy",
    "PrivateStatistics",
    "PublicIdentity",
    "Python",
    "Release",
    "Releases",
    "Result",
    "Run",
    "Score",
    "SharedTable",
    "Submission",
    "Survival",
    "TrustAnchor",
    "VerifiedReceipt",
    "align",
    "audit_view",
    "catalogue",
    "connect",
    "dry_run",
    "fetch",
    "inbox",
    "job_builder",
    "monitor",
    "policy_editor",
    "prepare",
    "private",
    "release_review",
    "releases",
    "requests",
    "run",
    "share",
    "show_versions",
    "submit",
    "testing",
    "verify",
]

_HOME = {
    "Aggregate": "operations",
    "Describe": "operations",
    "GradientBoosting": "operations",
    "KMeans": "operations",
    "LogisticRegression": "operations",
    "PCA": "operations",
    "PrivateStatistics": "operations",
    "Python": "operations",
    "Score": "operations",
    "Survival": "operations",
    "GLM": "operations",
    "ClfError": "errors",
    "Connection": "_connection",
    "EnclavePolicy": "attestation",
    "Identity": "_identity",
    "Job": "_job",
    "JobRequest": "_requests",
    "JobRequests": "_requests",
    "Policy": "policy",
    "PublicIdentity": "_public_identity",
    "Release": "_release",
    "Releases": "_release",
    "Result": "_result",
    "Run": "_run",
    "SharedTable": "_table",
    "Submission": "_submit",
    "TrustAnchor": "attestation",
    "VerifiedReceipt": "receipt",
    "DryRun": "_dry_run",
    "connect": "_connection",
    "dry_run": "_dry_run",
    "fetch": "_fetch",
    "releases": "_release",
    "requests": "_requests",
    "run": "_run",
    "share": "_share",
    "show_versions": "_versions",
    "submit": "_submit",
    "verify": "receipt",
}
_HOME |= dict.fromkeys(
    (
        "audit_view",
        "catalogue",
        "inbox",
        "job_builder",
        "monitor",
        "policy_editor",
        "release_review",
    ),
    "notebook",
)


_MODULES = ("align", "prepare", "private", "testing")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
