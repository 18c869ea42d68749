"""Arrows point one way: clf_server → clf_sdk ← clf_enclave."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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


def _installed_with(*extras: str) -> set[str]:
    """Distributions that an installation of the project with some extras has."""
    found: set[str] = set()
    waiting = [("clf-sdk", "")] + [("clf-sdk", extra) for extra in extras]
    seen = set(waiting)
    while waiting:
        name, extra = waiting.pop()
        found.add(name)
        for line in requires(name) or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                needed = canonicalize_name(requirement.name)
                for more in ((needed, each) for each in ("", *requirement.extras)):
                    if more not in seen:
                        seen.add(more)
                        waiting.append(more)
    return found


@pytest.mark.parametrize(
    ("extras", "modules"),
    [
        ((), "clf_sdk, clf_sdk._share, clf_sdk._run, clf_sdk._fetch, clf_sdk._cli._verbs"),
        (("server",), "clf_server._serve, clf_server._provision, clf_server._backup, duckdb"),
        (("enclave",), "clf_enclave._program, clf_enclave._operations, clf_enclave._service"),
        (("notebook",), "clf_sdk.notebook, clf_sdk._figures"),
    ],
)
def test_each_extra_brings_what_its_part_imports(extras: tuple[str, ...], modules: str) -> None:
    installed = _installed_with(*extras)
    missing = {
        module
        for module, owners in packages_distributions().items()
        if not installed & {canonicalize_name(owner) for owner in owners}
    }
    assert {"pytest", "jupyterlab"} <= missing
    code = f"""
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
import {modules}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
