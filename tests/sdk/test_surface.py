from __future__ import annotations

import subprocess
import sys

import pytest

import clf_sdk as clf


def test_public_surface_is_pinned() -> None:
    assert clf.__all__ == [
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
    assert dir(clf) == sorted(clf.__all__)
    for name in clf.__all__:
        assert getattr(clf, name).__doc__


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'clf_sdk' has no attribute 'upload'"):
        _ = clf.upload


def test_import_is_light() -> None:
    heavy = ["pandas", "pyarrow", "requests", "statsmodels", "ipywidgets", "matplotlib", "numpy"]
    heavy += ["cryptography", "keyring", "pyrage"]
    code = f"import sys, clf_sdk; print([m for m in {heavy} if m in sys.modules])"
    command = [sys.executable, "-c", code]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"
