"""Arrows point one way: clf_server → clf_sdk ← clf_enclave."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import clf_enclave
import clf_sdk
import clf_server

PACKAGES = {
    package.__name__: Path(package.__path__[0]) for package in (clf_sdk, clf_server, clf_enclave)
}
NOTEBOOK = {"tqdm", "ipywidgets", "IPython", "ipykernel", "matplotlib", "notebook"}


def _imports(package: str) -> dict[str, set[str]]:
    """Top-level packages that each module of a package imports, anywhere in it."""
    found = {}
    for path in PACKAGES[package].rglob("*.py"):
        names: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path} has a relative import"
                names.add((node.module or "").split(".")[0])
        found[path.relative_to(PACKAGES[package]).as_posix()] = names
    assert found
    return found


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("clf_sdk", {"clf_server", "clf_enclave"}),
        ("clf_server", {"clf_enclave"}),
        ("clf_enclave", {"clf_server"} | NOTEBOOK),
        ("clf_server", NOTEBOOK),
    ],
)
def test_package_does_not_import(package: str, forbidden: set[str]) -> None:
    offenders = {
        module: found for module, names in _imports(package).items() if (found := names & forbidden)
    }
    assert offenders == {}


@pytest.mark.parametrize("package", list(PACKAGES))
def test_package_says_that_it_is_typed(package: str) -> None:
    assert (PACKAGES[package] / "py.typed").exists()
